import type { BatteryTest } from './battery-test.js'
import { ambiguousCommit } from './tests/ambiguous-commit.js'
import { blackHole } from './tests/black-hole.js'
import { blockedLoop } from './tests/blocked-loop.js'
import { claimVsDeath } from './tests/claim-vs-death.js'
import { clockSkew } from './tests/clock-skew.js'
import { commitIsRollback } from './tests/commit-is-rollback.js'
import { connectionExhaustion } from './tests/connection-exhaustion.js'
import { crashLatency } from './tests/crash-latency.js'
import { diskFull } from './tests/disk-full.js'
import { dstSchedules } from './tests/dst-schedules.js'
import { duplicateSchedulers } from './tests/duplicate-schedulers.js'
import { errorPathFuzz } from './tests/error-path-fuzz.js'
import { errorStorm } from './tests/error-storm.js'
import { failover } from './tests/failover.js'
import { halfOpenListener } from './tests/half-open-listener.js'
import { kill9AtLeastOnce } from './tests/kill9-at-least-once.js'
import { kill9Transactional } from './tests/kill9-transactional.js'
import { lostWakeUp } from './tests/lost-wake-up.js'
import { memorySoak } from './tests/memory-soak.js'
import { migrationRace } from './tests/migration-race.js'
import { mixedChaos } from './tests/mixed-chaos.js'
import { notifyFlood } from './tests/notify-flood.js'
import { outOfMemoryPill } from './tests/out-of-memory-pill.js'
import { payloadFuzz } from './tests/payload-fuzz.js'
import { pgbouncer } from './tests/pgbouncer.js'
import { poisonPill } from './tests/poison-pill.js'
import { poolStarvation } from './tests/pool-starvation.js'
import { readOnly } from './tests/read-only.js'
import { rescueVsSettle } from './tests/rescue-vs-settle.js'
import { rollingUpgrade } from './tests/rolling-upgrade.js'
import { sameHostAndPid } from './tests/same-host-and-pid.js'
import { sequences } from './tests/sequences.js'
import { serialKey } from './tests/serial-key.js'
import { serverCrash } from './tests/server-crash.js'
import { serverRestart } from './tests/server-restart.js'
import { sigstop } from './tests/sigstop.js'
import { sigterm } from './tests/sigterm.js'
import { terminateBackend } from './tests/terminate-backend.js'

import { transactionalEnqueue } from './tests/transactional-enqueue.js'
import { uniqueKeys } from './tests/unique-keys.js'
import { vacuumHorizon } from './tests/vacuum-horizon.js'
import { zombieStatement } from './tests/zombie-statement.js'

/** The battery, in the order of its numbers. */
export const tests: readonly BatteryTest[] = [
  kill9Transactional,
  kill9AtLeastOnce,
  serverCrash,
  mixedChaos,
  sigstop,
  terminateBackend,
  zombieStatement,
  crashLatency,
  poisonPill,
  outOfMemoryPill,
  rescueVsSettle,
  claimVsDeath,
  serverRestart,
  sameHostAndPid,
  blackHole,
  halfOpenListener,
  lostWakeUp,
  ambiguousCommit,
  commitIsRollback,
  transactionalEnqueue,
  poolStarvation,
  pgbouncer,
  failover,
  readOnly,
  diskFull,
  errorStorm,
  sigterm,
  blockedLoop,
  vacuumHorizon,
  sequences,
  payloadFuzz,
  errorPathFuzz,
  dstSchedules,
  duplicateSchedulers,
  clockSkew,
  migrationRace,
  rollingUpgrade,
  serialKey,
  notifyFlood,
  memorySoak,
  connectionExhaustion,
  uniqueKeys,
]

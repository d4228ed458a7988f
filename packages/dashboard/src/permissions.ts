/** What somebody may be allowed beside looking. `view-args` shows the args of jobs; the others are actions. */
export type Permission = 'view-args' | 'run-now' | 'cancel' | 'delete' | 'redrive' | 'set-priority' | 'pause'

/** All of them: `allow: PERMISSIONS` for people who may do everything. */
export const PERMISSIONS: readonly Permission[] = Object.freeze([
  'view-args',
  'run-now',
  'cancel',
  'delete',
  'redrive',
  'set-priority',
  'pause',
])

import pg from 'pg'
import { everyState, STAGED } from './every-state.js'
import { type Block, placeOf } from './page.js'
import { type Environment, type Loader, type Program, type Stage, startProgram, startStage } from './program.js'
import { folderOf, type Project, type ProjectFile } from './project.js'
import { commandsOf } from './shell.js'

const STOP_MS = 30_000
/** Settings of other programs: shown, not run. */
const SETTINGS = ['json', 'yaml', 'ini']

/**
 * Runs everything that a page shows, from top to bottom, on a migrated database of its own that has jobs in every state.
 * Answers what went wrong, with the place: nothing, when all is well.
 *
 * - ts: a file that an sh block runs (`npx tsx order.ts`) is a program: it must end by itself, or, when it makes a worker,
 *   at SIGTERM. All other code runs in one process, piece by piece.
 * - sql: every query must answer at least one row.
 * - sh: commands of npm must name packages and scripts that exist; everything else is run.
 * - text: must have been printed.
 *
 * With a worker on the page, every job of the page must have been done in the end, and none may have failed.
 */
export async function runPage(
  blocks: readonly Block[],
  project: Project,
  url: string,
  patienceMs = 30_000,
): Promise<string[]> {
  const [client, worker, transaction] = [new pg.Client(url), new pg.Client(url), new pg.Client(url)]
  const run = new PageRun(blocks, project, { url, tsconfig: project.tsconfig }, client, patienceMs)
  try {
    for (const one of [client, worker, transaction]) await one.connect()
    await everyState(worker, transaction)
    for (const block of blocks) await run.take(block)
    if (await run.hasWorker()) await run.awaitJobs()
    await run.end()
    run.comparePrinted()
    return run.problems
  } finally {
    run.killAll()
    for (const one of [client, worker, transaction]) await one.end()
  }
}

class PageRun {
  readonly problems: string[] = []
  readonly #programs: ReadonlySet<string>
  readonly #started: Program[] = []
  /** Those of them that go on until the page ends. */
  readonly #workers: Program[] = []
  #stage: Stage | undefined

  constructor(
    private readonly blocks: readonly Block[],
    private readonly project: Project,
    private readonly environment: Environment,
    private readonly client: pg.Client,
    private readonly patienceMs: number,
  ) {
    const commands = blocks.filter(({ language }) => language === 'sh').flatMap(({ code }) => commandsOf(code))
    this.#programs = new Set(commands.flatMap((command) => (command.kind === 'program' ? [command.file] : [])))
  }

  async take(block: Block): Promise<void> {
    const { language, note, code } = block
    if (note) return this.#check(block, /^no-run: \w/.test(note), `say why: \`\`\`${language} no-run: why`)
    if (language === 'ts') return this.#takeFile(block, this.project.files.get(block)!)
    if (language === 'sql') return this.#query(block)
    if (language === 'sh') for (const command of commandsOf(code)) await this.#command(block, command)
    else
      this.#check(block, ['text', ...SETTINGS].includes(language), `nobody runs "${language}": use ts, sql, sh or text`)
  }

  async hasWorker(): Promise<boolean> {
    const { rowCount } = await this.client.query(`select from pgq.workers where hostname <> '${STAGED}'`)
    return rowCount !== 0
  }

  /** Waits until no job of the page is left but those for another time. */
  async awaitJobs(): Promise<void> {
    const open = async () => {
      const { rows } = await this.client.query(
        `select task, state from pgq.job_states where queue <> '${STAGED}' and state in ('ready', 'running')`,
      )
      return rows as { task: string; state: string }[]
    }
    if (!(await this.#until(async () => (await open()).length === 0))) {
      for (const { task, state } of await open())
        this.#report(this.blocks[0]!, `a job of task ${task} is still ${state}`)
    }
    const { rows } = await this.client.query(
      `select task, errors -> -1 ->> 'message' as message
       from pgq.job_states where queue <> '${STAGED}' and (errors is not null or state = 'dead')`,
    )
    for (const { task, message } of rows) this.#report(this.blocks[0]!, `a job of task ${task} failed: ${message}`)
  }

  /** Ends what is still running, as Ctrl-C would. */
  async end(): Promise<void> {
    for (const program of this.#workers) {
      program.terminate()
      await this.#mustEnd(program, STOP_MS)
    }
    if (!this.#stage) return
    if (this.#stage.isOver && this.problems.length === 0) {
      return this.#report(this.blocks[0]!, `the process of this page ended:\n${this.#stage.output}`)
    }
    this.#stage.terminate()
    const drained = await this.#until(async () => !(await this.hasWorker()), STOP_MS)
    this.#check(this.blocks[0]!, drained, 'a worker does not stop')
  }

  /** What text blocks promise, over everything that was printed. */
  comparePrinted(): void {
    const printed = [...this.#started, ...(this.#stage ? [this.#stage] : [])].map(({ output }) => output).join('')
    for (const block of this.blocks.filter(({ language, note }) => language === 'text' && !note)) {
      this.#check(block, printed.includes(block.code.trim()), `this was not printed. Printed was:\n${printed}`)
    }
  }

  killAll(): void {
    for (const program of this.#started) program.kill()
    this.#stage?.kill()
  }

  async #takeFile(block: Block, file: ProjectFile): Promise<void> {
    if (this.#programs.has(file.name)) return
    this.#stage ??= startStage(this.project.stage, file.folder, this.environment)
    const error = await this.#stage.run(file.js)
    if (error) this.#report(block, error)
  }

  async #query(block: Block): Promise<void> {
    try {
      const results = [await this.client.query(block.code)].flat() as pg.QueryResult[]
      const silent = results.some(({ command, rowCount }) => command === 'SELECT' && rowCount === 0)
      this.#check(block, !silent, 'this answers no row, although there are jobs in every state')
    } catch (error) {
      this.#report(block, (error as Error).message)
    }
  }

  async #command(block: Block, command: ReturnType<typeof commandsOf>[number]): Promise<void> {
    const cwd = folderOf(this.project.folder, block.page)
    if (command.kind === 'wrong') this.#report(block, command.why)
    if (command.kind === 'run') await this.#mustEnd(this.#start(block, 'sh', ['-ec', command.command], cwd))
    if (command.kind === 'stay') {
      // A module in TypeScript needs a loader, as the README of the command line says.
      const loader = /\.ts\b/.test(command.command) ? 'tsx' : 'plain'
      return this.#stay(this.#start(block, 'sh', ['-ec', command.command], cwd, loader))
    }
    if (command.kind !== 'program') return
    const file = this.blocks.find((one) => this.project.files.get(one)?.name === command.file)
    if (!file) return this.#report(block, `there is no ${command.file} on this page`)
    const program = this.#start(block, process.execPath, [...command.args, this.project.files.get(file)!.js], cwd)
    if (!/\bcreateWorker\(/.test(file.code)) return this.#mustEnd(program)
    this.#workers.push(program)
    const isUp = await this.#until(async () => program.isOver || (await this.hasWorker()))
    this.#check(block, isUp, 'the worker does not come up')
  }

  /** A command of ours that ends with the page: it has something to say when it is up. */
  async #stay(program: Program): Promise<void> {
    this.#workers.push(program)
    const isUp = await this.#until(async () => program.isOver || program.output !== '')
    this.#check(program.block, isUp, 'this does not come up')
  }

  #start(block: Block, command: string, args: readonly string[], cwd: string, loader: Loader = 'plain'): Program {
    const program = startProgram(block, command, args, cwd, this.environment, loader)
    this.#started.push(program)
    return program
  }

  async #mustEnd(program: Program, patienceMs?: number): Promise<void> {
    const inTime = await this.#until(async () => program.isOver, patienceMs)
    if (!inTime) this.#report(program.block, `this does not end. It printed:\n${program.output}`)
    else if (program.exit !== 0) this.#report(program.block, `exit ${program.exit}:\n${program.output}`)
  }

  async #until(isTrue: () => Promise<boolean>, patienceMs = this.patienceMs): Promise<boolean> {
    const endsAt = Date.now() + patienceMs
    while (!(await isTrue())) {
      if (Date.now() > endsAt) return false
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return true
  }

  #check(block: Block, isRight: boolean, otherwise: string): void {
    if (!isRight) this.#report(block, otherwise)
  }

  #report(block: Block, what: string): void {
    this.problems.push(`${placeOf(block)}: ${what}`)
  }
}

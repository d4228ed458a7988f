/**
 * `work`, then `cleanup`, whatever happens; the error of `work` goes first. When both fail, the connection is gone, and
 * with it what was to be cleaned up.
 */
export async function withCleanup<T>(work: () => Promise<T>, cleanup: () => Promise<unknown>): Promise<T> {
  let result: T
  try {
    result = await work()
  } catch (error) {
    await cleanup().catch(() => undefined)
    throw error
  }
  await cleanup()
  return result
}

import { cancel, defineTask, type Executor, enqueue, type Task, typed } from '@pgq/core'

export const greet: Task<{ name: string }> = defineTask('greet', {
  args: {
    '~standard': {
      ...typed<{ name: string }>()['~standard'],
      validate: (value) =>
        typeof (value as { name: unknown }).name === 'string'
          ? { value: value as { name: string } }
          : { issues: [{ message: 'not a name', path: ['name'] }] },
    },
  },
})

export const handlers = [greet.handle(({ name }) => (name === 'nobody' ? cancel('nobody is there') : undefined))]

export async function signUp(executor: Executor): Promise<void> {
  await greet.enqueue(executor, { name: 'nobody' })
  await enqueue(executor, 'greet', { name: 1 })
}

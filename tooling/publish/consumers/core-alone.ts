import { defineTask, type Executor, typed } from '@pgq/core'

const greet = defineTask('greet', { args: typed<{ name: string }>(), queue: 'greetings' })

async function main(): Promise<void> {
  const executor: Executor = {
    query: async (sql, params) => {
      console.log(/select [^(\s]+/.exec(sql)?.[0], params[0])
      return { rows: [{ id: '1' }] }
    },
  }
  // @ts-expect-error Types that had become `any` on their way would let this pass.
  void (() => greet.enqueue(executor, { name: 1 }))
  console.log(JSON.stringify(await greet.enqueue(executor, { name: 'world' })))
}

void main()

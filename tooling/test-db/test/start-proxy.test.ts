import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startProxy, type TcpProxy } from '../src/index.js'

/** A server that says back what it hears, and a proxy before it. */
async function echoBehindProxy(): Promise<{ proxy: TcpProxy; accepted: Socket[] }> {
  const accepted: Socket[] = []
  const server = createServer((socket) => {
    accepted.push(socket.on('error', () => {}))
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await startProxy((server.address() as AddressInfo).port)
  onTestFinished(async () => {
    await proxy.close()
    server.close()
  })
  return { proxy, accepted }
}

async function client(proxy: TcpProxy): Promise<Socket> {
  const socket = connect(proxy.port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

async function echo(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [heard] = await once(socket, 'data')
  return String(heard)
}

test('hands everything on', async () => {
  const { proxy } = await echoBehindProxy()
  expect(await echo(await client(proxy), 'hello')).toBe('hello')
  expect(proxy.through('postgres://me:pw@127.0.0.1:5432/db')).toBe(`postgres://me:pw@127.0.0.1:${proxy.port}/db`)
})

test('pause holds open and new connections back, resume lets everything through', async () => {
  const { proxy } = await echoBehindProxy()
  const open = await client(proxy)
  expect(await echo(open, 'before')).toBe('before')

  proxy.pause()
  const late = await client(proxy)
  const heard: string[] = []
  for (const socket of [open, late]) socket.on('data', (data) => heard.push(String(data)))
  open.write('held')
  late.write('held')
  // A round trip through a proxy of its own: time enough for anything that would pass.
  expect(await echo(await client((await echoBehindProxy()).proxy), 'elsewhere')).toBe('elsewhere')
  expect(heard).toEqual([])

  proxy.resume()
  await expect.poll(() => heard).toEqual(['held', 'held'])
})

test('while paused, a client does not learn that the server went away', async () => {
  const { proxy, accepted } = await echoBehindProxy()
  const socket = await client(proxy)
  expect(await echo(socket, 'before')).toBe('before')
  let closed = false
  socket
    .on('error', () => {})
    .on('close', () => {
      closed = true
    })

  proxy.pause()
  accepted[0]?.resetAndDestroy()
  expect(await echo(await client((await echoBehindProxy()).proxy), 'elsewhere')).toBe('elsewhere')
  expect(closed).toBe(false)

  proxy.resume()
  await expect.poll(() => closed).toBe(true)
})

test('cut resets both sides and takes new connections', async () => {
  const { proxy, accepted } = await echoBehindProxy()
  const socket = await client(proxy)
  expect(await echo(socket, 'before')).toBe('before')
  const reset = once(
    socket.on('data', () => {}),
    'error',
  ).catch((error) => [error])
  proxy.cut()
  expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
  await expect.poll(() => accepted[0]?.destroyed).toBe(true)
  expect(await echo(await client(proxy), 'again')).toBe('again')
})

test('close ends everything, and new connections are refused', async () => {
  const { proxy } = await echoBehindProxy()
  const socket = await client(proxy)
  const ended = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve))
  await Promise.all([proxy.close(), proxy.close()])
  await ended
  await expect(client(proxy)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('one connection can be held back alone, found by what it said', async () => {
  const { proxy } = await echoBehindProxy()
  const [held, free] = [await client(proxy), await client(proxy)]
  await echo(held, 'listen')
  await echo(free, 'select')
  const [connection, ...others] = proxy.connections.filter(({ sent }) => sent.includes('listen'))
  expect(others).toEqual([])

  connection!.pause()
  let heard = ''
  held.on('data', (data) => {
    heard += data
  })
  held.write('held')
  expect(await echo(free, 'free')).toBe('free')
  expect(heard).toBe('')
  connection!.resume()
  await expect.poll(() => heard).toBe('held')
})

// Mutant: the chunk that reaches the limit passes whole.
test('cutAfter lets exactly that many bytes pass and closes both sides', async () => {
  const { proxy, accepted } = await echoBehindProxy()
  const socket = await client(proxy)
  expect(await echo(socket, 'before')).toBe('before')
  proxy.cutAfter(3, 'toServer')
  let atServer = ''
  accepted[0]!.on('data', (data) => {
    atServer += data
  })
  const closed = once(
    socket.on('error', () => {}),
    'close',
  )
  socket.write('abcdef')
  await closed
  await expect.poll(() => accepted[0]!.destroyed).toBe(true)
  expect(atServer).toBe('abc')
  expect(proxy.passed.toServer).toBe(9)
  expect(await echo(await client(proxy), 'again')).toBe('again')
})

// Mutant: a proxy that lets the text pass, and closes then.
test('cutBefore closes both sides before a text, and only once', async () => {
  const { proxy } = await echoBehindProxy()
  const socket = await client(proxy)
  proxy.cutBefore('def', 'toClient')
  expect(await echo(socket, 'ab')).toBe('ab')
  let heard = ''
  socket.on('data', (data) => {
    heard += data
  })
  const closed = once(
    socket.on('error', () => {}),
    'close',
  )
  socket.write('cdef')
  await closed
  expect(heard).toBe('c')
  expect(proxy.passed).toEqual({ toServer: 6, toClient: 3 })
  expect(await echo(await client(proxy), 'defdef')).toBe('defdef')
})

test('retarget sends new connections elsewhere', async () => {
  const { proxy } = await echoBehindProxy()
  const old = await client(proxy)
  expect(await echo(old, 'here')).toBe('here')
  const other = createServer((socket) => socket.end('elsewhere')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  proxy.retarget((other.address() as AddressInfo).port)
  expect(String((await once(await client(proxy), 'data'))[0])).toBe('elsewhere')
  expect(await echo(old, 'still here')).toBe('still here')
})

import { PrismaPg } from '@prisma/adapter-pg'
import * as runtime from '@prisma/client/runtime/client'

/**
 * The real Prisma 7 client, its query compiler and its pg driver. What `prisma generate` writes for a schema without models is this
 * one configuration; it is written by hand because the generator wants to download a schema engine first.
 */
const PrismaClient = runtime.getPrismaClient({
  previewFeatures: [],
  clientVersion: '7.10.0',
  engineVersion: '0edf323efd1d98336f3f0a68684b56f689b900d3',
  activeProvider: 'postgresql',
  inlineSchema:
    'generator client {\n  provider = "prisma-client"\n}\n\ndatasource db {\n  provider = "postgresql"\n}\n',
  runtimeDataModel: { models: {}, enums: {}, types: {} },
  parameterizationSchema: { strings: [], graph: 'AAAA' },
  compilerWasm: {
    getRuntime: () => import('@prisma/client/runtime/query_compiler_fast_bg.postgresql.mjs' as string),
    getQueryCompilerWasmModule: async () => {
      const { wasm } = await import(
        '@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.mjs' as string
      )
      return new (globalThis as any).WebAssembly.Module(Buffer.from(wasm, 'base64'))
    },
    importName: './query_compiler_fast_bg.js',
  },
} as runtime.GetPrismaClientConfig)

export interface PrismaClient {
  $queryRawUnsafe<T>(sql: string, ...params: unknown[]): Promise<T>
  $transaction<T>(work: (trx: Pick<PrismaClient, '$queryRawUnsafe'>) => Promise<T>): Promise<T>
  $disconnect(): Promise<void>
}

export const prismaClient = (url: string): PrismaClient =>
  new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) } as never) as unknown as PrismaClient

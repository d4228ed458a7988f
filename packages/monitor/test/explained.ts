import type { SqlClient } from '@pgq/core'
import type pg from 'pg'

export interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Total Cost': number
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly PlanNode[]
}

/**
 * What it cost the server to answer a question: blocks of 8 KiB touched, and rows that came out of tables; and what its dearest
 * statement was expected to cost, in the planner's units.
 */
export async function costOf(pool: pg.Pool, ask: (executor: SqlClient) => Promise<unknown>) {
  const plans: PlanNode[] = []
  await ask({
    async query(sql, params) {
      const { rows } = await pool.query(`explain (analyze, buffers, timing off, format json) ${sql}`, params)
      plans.push(rows[0]['QUERY PLAN'][0].Plan)
      return pool.query(sql, params)
    },
  })
  const nodes = plans.flatMap(below)
  return {
    expected: Math.max(...plans.map((plan) => plan['Total Cost'])),
    blocks: plans.reduce((sum, plan) => sum + plan['Shared Hit Blocks'] + plan['Shared Read Blocks'], 0),
    rows: nodes
      .filter((node) => node['Relation Name'] !== undefined)
      .reduce((sum, node) => sum + node['Actual Rows'] * node['Actual Loops'], 0),
    nodes,
  }
}

const below = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(below)]

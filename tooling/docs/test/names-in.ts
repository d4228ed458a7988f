import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { root } from './page.js'

/** The members of an interface, or the literals of a union. */
export function namesIn(file: string, type: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest)
  for (const statement of source.statements) {
    if (ts.isInterfaceDeclaration(statement) && statement.name.text === type) {
      return statement.members.map(({ name }) => (name && 'text' in name ? name.text : ''))
    }
    if (ts.isTypeAliasDeclaration(statement) && statement.name.text === type && ts.isUnionTypeNode(statement.type)) {
      return statement.type.types.map((one) => one.getText(source).replaceAll("'", ''))
    }
  }
  return []
}

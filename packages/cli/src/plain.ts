// Controls (C0, DEL, C1), what turns the direction of writing, and line separators: a terminal obeys them, and names and errors
// of jobs may hold them.
const OBEYED = /[\p{Cc}\p{Bidi_Control}\u2028\u2029\ufeff]/gu

/** The text on one line, as a terminal may have it: what it would obey is spelled out, as \n or \u001b. */
export const plain = (text: string): string =>
  text.replace(OBEYED, (character) => NAMED[character] ?? escaped(character))

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** The same for a text of several lines, which stay. */
export const plainLines = (text: string): string => text.split(/\r?\n/).map(plain).join('\n')

/** JSON on one line that is safe on a terminal too. It says the same: such characters stand in strings alone. */
export const plainJson = (value: unknown): string => plainJsonText(JSON.stringify(value))

/** JSON that is written already, and may end with a line break. */
export const plainJsonText = (json: string): string =>
  json.replace(OBEYED, (character) => (character === '\n' ? character : escaped(character)))

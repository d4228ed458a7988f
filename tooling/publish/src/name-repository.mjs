#!/usr/bin/env node
// Part of a release on GitHub: the registry takes the proof of where a package was built only when its package.json names that
// same repository. It is written there and then, so that a fork need not change anything to publish under a name of its own.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env

if (GITHUB_REPOSITORY) {
  const url = `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git`
  for (const folder of readdirSync('packages')) nameRepository(url, `packages/${folder}`)
}

function nameRepository(url, directory) {
  const file = `${directory}/package.json`
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, `${JSON.stringify({ ...manifest, repository: { type: 'git', url, directory } }, null, 2)}\n`)
}

// `npm test`: set-up, static checks, then every test on the chosen adapter. The last line is `N passed, N failed`.
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareBuild, prepareInstall, runPackage } from './prepare.mjs';

const checks = [
  ['types', 'typescript/bin/tsc', ['--noEmit']],
  ['lint', 'eslint/bin/eslint.js', ['--max-warnings=0', '.']],
  ['format', 'prettier/bin/prettier.cjs', ['--check', '--log-level=warn', '.']],
  ['dead code', 'knip/bin/knip.js', []],
];

let passed = 0;
let failed = 0;

function count(name, good, started) {
  if (good) passed += 1;
  else failed += 1;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

/** Runs the test files on an adapter and adds its counts; a run without a report counts as one failure. */
async function runTests(adapter, filters) {
  const report = join(tmpdir(), `emu3-tests-${process.pid}.json`);
  const env = { ...process.env, EMU3_ADAPTER: adapter };
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...filters];
  const { code } = await runPackage('vitest/vitest.mjs', args, { env });
  try {
    const result = JSON.parse(await readFile(report, 'utf8'));
    const notRun = result.numPendingTests + result.numTodoTests;
    const brokenFiles = result.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    const bad = result.numFailedTests + notRun + brokenFiles.length;
    passed += result.numPassedTests;
    // An error outside any test fails the run too.
    failed += bad === 0 && code !== 0 ? 1 : bad;
  } catch {
    failed += 1;
  } finally {
    await rm(report, { force: true });
  }
}

await prepareInstall();
await prepareBuild();
for (const [name, script, args] of checks) {
  const started = performance.now();
  const { code, output } = await runPackage(script, args, { capture: true });
  if (code !== 0) console.log(output);
  count(name, code === 0, started);
}
await runTests(process.env.EMU3_ADAPTER ?? 'auto', process.argv.slice(2));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

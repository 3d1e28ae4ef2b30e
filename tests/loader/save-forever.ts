/** Saves checkpoints one after the other until it is killed: the victim of the kill test. Argument: the run's folder. */
import { saveTrainingCheckpoint } from '../../loader/checkpoint.node.js';
import { checkpointAt } from './trainer.js';

const folder = process.argv[2] ?? '';
for (let step = 1; ; step++) {
  await saveTrainingCheckpoint(folder, checkpointAt(step, 30_000), { keep: 2 });
  process.stdout.write(`${step}\n`);
}

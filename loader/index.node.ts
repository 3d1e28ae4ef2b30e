/** The loader with files on disk: everything of index.ts, and what needs Node. */
export * from './index.js';
export { diskFolder } from './folder.node.js';
export { openHubFolder } from './hub/folder.node.js';
export type { HubFile, HubFolder, HubOptions } from './hub/folder.node.js';
export { openFileSource } from './source.node.js';
export { defaultCacheFolder, diskCache } from './cache/disk.node.js';
export { diskFileSystem, replaceFile } from './atomic.node.js';
export type { SaveFileSystem, WriteHandle } from './atomic.node.js';
export { writeModel, writeSafetensors } from './safetensors/writer.node.js';
export type { FileWriteOptions, ModelWriteOptions } from './safetensors/writer.node.js';
export { writeAdapters } from './adapters.node.js';
export type { AdapterWriteOptions } from './adapters.node.js';
export { latestCheckpoint, loadTrainingCheckpoint, saveTrainingCheckpoint } from './checkpoint.node.js';
export type { SaveOptions } from './checkpoint.node.js';
export { PreferenceStore, readPreferenceSamples, writePreferenceSamples } from './preferences/store.node.js';
export type { PreferenceStoreOptions } from './preferences/store.node.js';
export { collectPreferences } from './preferences/collect.node.js';
export type { CollectOptions, DrawnSample, SampleRequest } from './preferences/collect.node.js';

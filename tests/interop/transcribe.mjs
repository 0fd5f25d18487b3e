// node transcribe.mjs NODE_MODULES BUNDLE AUDIO...: print one line of text for each file of float32 samples.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";

const [modules, bundle, ...files] = process.argv.slice(2);
const { pipeline, env } = createRequire(`${modules}/`)("@huggingface/transformers");
env.allowRemoteModels = false;
env.localModelPath = dirname(bundle);
const recogniser = await pipeline("automatic-speech-recognition", basename(bundle), { dtype: "q8" });
for (const file of files) {
  const bytes = readFileSync(file);
  const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  console.log((await recogniser(samples)).text);
}

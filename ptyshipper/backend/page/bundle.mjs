// node bundle.mjs page DIR: the page, minified, under names that change with what is in the files.
// node bundle.mjs tests DIR TEST...: each test with what it imports, for `node --test`.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const [what, directory, ...tests] = process.argv.slice(2);
// A style that a view loads when it is shown: its address, where its name ends with ?url.
const addresses = {
  name: "addresses",
  setup({ onLoad, onResolve, resolve }) {
    onResolve({ filter: /\?url$/ }, async ({ path, ...rest }) => {
      const found = await resolve(path.slice(0, -"?url".length), rest);
      return { ...found, namespace: "address" };
    });
    onLoad({ filter: /./, namespace: "address" }, async ({ path }) => {
      const contents = await readFile(path, "utf8");
      return { contents: (await transform(contents, { loader: "css", minify: true })).code, loader: "file" };
    });
  },
};
const common = { bundle: true, format: "esm", outdir: directory, logLevel: "warning" };

if (what === "tests") {
  await build({ ...common, entryPoints: tests, platform: "node", outExtension: { ".js": ".mjs" } });
} else {
  const { metafile } = await build({
    ...common,
    entryPoints: ["src/main.ts"],
    plugins: [addresses],
    publicPath: "/assets",
    assetNames: "[name]-[hash]",
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    splitting: true,
    minify: true,
    target: "es2022",
    legalComments: "none",
    metafile: true,
  });
  const [script, entry] = Object.entries(metafile.outputs).find(([, output]) => output.entryPoint === "src/main.ts");
  const named = (path) => `/assets/${path.slice(path.lastIndexOf("/") + 1)}`;
  // The log is what most come for: its script is asked for with the first, not by it.
  const log = Object.keys(metafile.outputs).find((path) => metafile.outputs[path].entryPoint === "src/log.ts");
  const early = [log, ...metafile.outputs[log].imports.filter(({ kind }) => kind === "import-statement").map(({ path }) => path)];
  const page = (await readFile("src/index.html", "utf8"))
    .replace("{early}", early.map((path) => `<link rel="modulepreload" href="${named(path)}">`).join("\n"))
    .replace("{script}", named(script))
    .replace("{style}", named(entry.cssBundle));
  await writeFile(join(directory, "index.html"), page);
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    await writeFile(`${path}.gz`, gzipSync(await readFile(path), { level: 9 }));
  }
}

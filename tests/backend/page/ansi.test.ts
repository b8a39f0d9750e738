import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import { pieces, rawPieces, textOf } from "../../../ptyshipper/backend/page/src/ansi.ts";
import { colours, contrast, legible } from "../../../ptyshipper/backend/page/src/colours.ts";

const looks = (line: string) => pieces(line).map(({ text, look }) => [text, look]);

test("colours of 16, 256 and all, with semicolons and with colons", () => {
  deepEqual(looks("a\x1b[31mb\x1b[0mc"), [["a", {}], ["b", { foreground: 1 }], ["c", {}]]);
  deepEqual(looks("\x1b[97;104mx"), [["x", { foreground: 15, background: 12 }]]);
  deepEqual(looks("\x1b[38;5;208;1mx"), [["x", { foreground: 208, bold: true }]]);
  deepEqual(looks("\x1b[38:5:208mx"), [["x", { foreground: 208 }]]);
  for (const rgb of ["38;2;1;2;3", "38:2:1:2:3", "38:2::1:2:3", "38:2:0:1:2:3"]) {
    deepEqual(looks(`\x1b[${rgb}mx`), [["x", { foreground: [1, 2, 3] }]], rgb);
  }
  deepEqual(looks("\x1b[38;5;999mx\x1b[38mx\x1b[38;2;1mx"), [["x", {}], ["x", {}], ["x", {}]]);
  deepEqual(looks("\x1b[58;5;9;3mx"), [["x", { italic: true }]], "a colour of lines under text is passed over whole");
});

test("weights come and go", () => {
  deepEqual(looks("\x1b[1;2;3;4;7;9ma\x1b[22;23;24;27;29mb"), [
    ["a", { bold: true, faint: true, italic: true, underline: true, inverse: true, strike: true }],
    ["b", {}],
  ]);
  deepEqual(looks("\x1b[4:3ma\x1b[4:0mb\x1b[mc"), [["a", { underline: true }], ["b", { underline: false }], ["c", {}]]);
});

test("bodies of strings vanish, ended or not", () => {
  for (const string of ["\x1b]0;title\x07", "\x1b]52;c;aGk=\x1b\\", "\x1bPq#0\x1b\\", "\x1b_apc\x1b\\", "\x1b^pm\x9c", "\x1bXsos\x1b\\", "\x9d0;c1\x9c"]) {
    equal(textOf(pieces(`a${string}b`)), "ab", JSON.stringify(string));
  }
  equal(textOf(pieces("a\x1b]0;never ended")), "a");
  equal(textOf(pieces("a\x1b]0;broken\x1b[31mb")), "ab");
  equal(textOf(pieces("a\x1b[2J\x1b[1;1H\x1b(B\x1b7b\x1b[")), "ab");
});

test("links are http and https, and nothing else", () => {
  const link = (address: string) => pieces(`\x1b]8;;${address}\x07x\x1b]8;;\x07y`).map(({ look }) => look.link);
  deepEqual(link("https://example.com/a?b#c"), ["https://example.com/a?b#c", undefined]);
  for (const address of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.com", "https://a b", "JaVaScRiPt:x", "https://" + "a".repeat(3_000)]) {
    deepEqual(link(address), [undefined, undefined], address);
  }
  deepEqual(pieces("\x1b]8;id=1;http://a/\x07x\x1b[0my").map(({ look }) => look.link), ["http://a/", "http://a/"]);
});

test("controls and what turns the direction of reading are seen", () => {
  equal(textOf(pieces("a\x00\x07\x08\x7f\u202e\u2066\ufeffb\tc")), "a^@^G^H^?<U+202E><U+2066><U+FEFF>b\tc");
  equal(textOf(rawPieces("\x1b[31mred\x1b[0m")), "^[[31mred^[[0m");
  deepEqual(pieces(""), []);
});

test("a line made to be slow is not: backtracking would take minutes", () => {
  for (const part of ["\x1b[", "\x1b]8;", "\x1bP", "\x1b[1;", "\x9b", "\x1b\x1b", "\x1bP\x1b"]) {
    ok(textOf(pieces(`${part.repeat(30_000)}m`)).length <= 30_001, JSON.stringify(part));
  }
});

test("every colour can be read on either paper", () => {
  for (let colour = 0; colour < 256; colour++) {
    const { color } = colours({ foreground: colour });
    const [light, dark] = [...color.matchAll(/rgb\((\d+) (\d+) (\d+)\)/g)].map((found) => found.slice(1).map(Number) as unknown as [number, number, number]);
    ok(light && dark && contrast(light, [255, 255, 255]) >= 4.5 && contrast(dark, [20, 23, 28]) >= 4.5, `${colour}: ${color}`);
  }
  deepEqual(legible([0, 0, 0], [255, 255, 255]), [0, 0, 0]);
  deepEqual(colours({ bold: true }), { color: "", background: "" });
});

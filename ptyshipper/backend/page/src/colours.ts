/** Colours that a program asked for, so that they can be read on the page's paper, light and dark. Pure. */

import type { Colour, Look } from "./ansi.ts";

type Rgb = readonly [number, number, number];

const PAPER_LIGHT: Rgb = [0xff, 0xff, 0xff];
const PAPER_DARK: Rgb = [0x14, 0x17, 0x1c];
const INK_LIGHT: Rgb = [0x1b, 0x20, 0x27];
const INK_DARK: Rgb = [0xdf, 0xe3, 0xea];
/** WCAG AA asks for 4.5; rows are tinted now and then. */
const CONTRAST = 5.2;
const BASIC: readonly Rgb[] = [
  [0, 0, 0], [194, 54, 33], [37, 148, 36], [160, 125, 0], [48, 90, 220], [190, 50, 190], [20, 150, 160], [190, 195, 200],
  [120, 125, 130], [240, 80, 70], [60, 190, 70], [220, 180, 20], [90, 140, 255], [230, 100, 230], [60, 200, 210], [245, 247, 250],
];
const LEVELS = [0, 95, 135, 175, 215, 255];

function rgbOf(colour: Colour): Rgb {
  if (typeof colour !== "number") return colour;
  if (colour < 16) return BASIC[colour] ?? INK_LIGHT;
  if (colour >= 232) return [8 + (colour - 232) * 10, 8 + (colour - 232) * 10, 8 + (colour - 232) * 10];
  const cube = colour - 16;
  const level = (value: number) => LEVELS[value % 6] ?? 0;
  return [level(Math.trunc(cube / 36)), level(Math.trunc(cube / 6)), level(cube)];
}

function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as unknown as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(one: Rgb, other: Rgb): number {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (lighter + 0.05) / (darker + 0.05);
}

/** `colour`, or as much of it as can be read on `paper`: mixed with black or white step by step. */
export function legible(colour: Rgb, paper: Rgb): Rgb {
  const end: Rgb = luminance(paper) > 0.18 ? [0, 0, 0] : [255, 255, 255];
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = colour.map((value, at) => Math.round(value + ((end[at] ?? 0) - value) * share)) as unknown as Rgb;
    if (contrast(mixed, paper) >= CONTRAST) return mixed;
  }
  return end;
}

const css = ([r, g, b]: Rgb) => `rgb(${r} ${g} ${b})`;
const both = (light: Rgb, dark: Rgb) => `light-dark(${css(light)}, ${css(dark)})`;
const known = new Map<string, { color: string; background: string }>();
const MOST_KNOWN = 4_096;

/** Values for `color` and `background`; "": as the page has it. */
export function colours({ foreground, background, inverse }: Look): { color: string; background: string } {
  if (foreground === undefined && background === undefined && !inverse) return { color: "", background: "" };
  const key = `${foreground}|${background}|${inverse}`;
  let found = known.get(key);
  if (found === undefined) {
    if (known.size >= MOST_KNOWN) known.clear();
    known.set(key, (found = made(foreground, background, inverse ?? false)));
  }
  return found;
}

function made(foreground: Colour | undefined, background: Colour | undefined, inverse: boolean) {
  const on = (ink: Rgb, paper: Rgb): [Rgb, Rgb] => {
    const front = foreground === undefined ? ink : rgbOf(foreground);
    const back = background === undefined ? paper : rgbOf(background);
    const [text, under] = inverse ? [back, front] : [front, back];
    return [legible(text, under), under];
  };
  const [light, dark] = [on(INK_LIGHT, PAPER_LIGHT), on(INK_DARK, PAPER_DARK)];
  const isPaper = background === undefined && !inverse;
  return { color: both(light[0], dark[0]), background: isPaper ? "" : both(light[1], dark[1]) };
}

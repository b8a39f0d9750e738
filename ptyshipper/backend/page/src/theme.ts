/** Light or dark: as the system has it, unless the reader chose. */

const KEY = "ptyshipper.theme";
const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const dark = matchMedia("(prefers-color-scheme: dark)");
const WORDS: Record<Theme, string> = { system: "as the system has it", light: "light", dark: "dark" };
const SIGNS: Record<Theme, string> = { system: "◐", light: "☀", dark: "☾" };

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((each) => each === kept) ?? "system";
}

/** Shows it; style.css does the rest. */
export function applyTheme(chosen: Theme = theme()): void {
  document.documentElement.dataset.theme = chosen;
}

export function isDark(): boolean {
  return theme() === "dark" || (theme() === "system" && dark.matches);
}

export function nextTheme(): Theme {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "system";
  if (next === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  applyTheme(next);
  return next;
}

export function described(chosen: Theme): { sign: string; words: string } {
  return { sign: SIGNS[chosen], words: `Theme: ${WORDS[chosen]}` };
}

/** What a reader chose last time, in this browser. */

const PREFIX = "ptyshipper.";

export function remembered<T extends string>(name: string, values: readonly T[]): T {
  const kept = localStorage.getItem(PREFIX + name);
  return values.find((value) => value === kept) ?? (values[0] as T);
}

export function remember(name: string, value: string): void {
  localStorage.setItem(PREFIX + name, value);
}

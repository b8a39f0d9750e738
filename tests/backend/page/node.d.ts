// As much of Node.js as the tests use: its own types would make every timer of the page Node's.
declare module "node:test" {
  export function test(name: string, run: () => void): void;
}
declare module "node:assert/strict" {
  export function deepEqual(actual: unknown, expected: unknown, message?: string): void;
  export function ok(value: unknown, message?: string): void;
  export function throws(run: () => void, error: unknown): void;
  export function equal(actual: unknown, expected: unknown, message?: string): void;
  export function throws(run: () => void, expected?: unknown): void;
}

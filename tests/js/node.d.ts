/** What the tests use of Node, and no more: all of Node's types would hide the browser's. */

declare module "node:test" {
  interface TestContext {
    after(run: () => void): void;
    mock: {
      timers: {
        enable(options: { apis: ("setTimeout" | "setInterval" | "Date")[]; now?: number }): void;
        tick(milliseconds: number): void;
      };
      method<T extends object>(owner: T, name: keyof T, implementation: (...values: any[]) => any): void;
    };
  }
  export function test(name: string, run: (context: TestContext) => void | Promise<void>): void;
}

declare module "node:assert/strict" {
  const assert: {
    deepEqual(actual: unknown, expected: unknown, message?: string): void;
    equal(actual: unknown, expected: unknown, message?: string): void;
    notEqual(actual: unknown, expected: unknown, message?: string): void;
    ok(value: unknown, message?: string): asserts value;
    rejects(promise: Promise<unknown>, expected?: object): Promise<void>;
  };
  export default assert;
}

declare function setImmediate(run: (value?: unknown) => void): void;

import assert from "node:assert/strict";
import { test } from "node:test";
import { routeOf } from "../../../ptyshipper/backend/page/src/router.ts";

const ID = "0123456789abcdef".repeat(2);

test("addresses are views", () => {
  assert.deepEqual(routeOf("/"), { view: "sessions" });
  assert.deepEqual(routeOf(`/sessions/${ID}`), { view: "log", source: { session: ID } });
  assert.deepEqual(routeOf(`/sessions/${ID}/terminal`), { view: "terminal", id: ID });
  assert.deepEqual(routeOf("/apps/-3"), { view: "log", source: { app: -3 } });
});

test("others are not", () => {
  for (const path of ["/x", "/apps/", "/apps/a", "/apps/1/", "/apps/9007199254740992", "/sessions/x", `/sessions/${ID}0`, `/sessions/${ID}/x`]) {
    assert.equal(routeOf(path), null);
  }
});

// The parts of the console's page that need no browser. test_console_page_modules.py runs these.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const STATIC = new URL("../../infra/relay_console/static/", import.meta.url);

let hashChanged;
globalThis.location = { hash: "" };
globalThis.window = { addEventListener: (_, listener) => (hashChanged = listener) };
globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
globalThis.fetch = async (path) => {
  const content = await readFile(new URL(path.replace("/static/", ""), STATIC), "utf8");
  return { json: async () => JSON.parse(content) };
};

const load = (name) => import(new URL(`${name}.js`, STATIC));
const { setLanguage, text } = await load("texts");
const { age, time } = await load("times");
const { excerpt } = await load("segments");
const { compare } = await load("keyed_list");
const { link, linked, onAddress } = await load("address");
await setLanguage("en");

test("a text has its values, and keeps what has none", () => {
  assert.equal(text("seconds", { n: 12 }), "12 s");
  assert.equal(text("seconds", {}), "{n} s");
  assert.equal(text("no.such.text"), "no.such.text");
});

test("the page says which language it is in", async () => {
  await setLanguage("zh");
  assert.equal(document.documentElement.lang, "zh-CN");
  await setLanguage("en");
  assert.equal(document.documentElement.lang, "en");
});

test("a time is that of the item, in UTC", () => {
  assert.equal(time("2026-11-29T19:10:04.123456Z"), "2026-11-29 19:10:04 UTC");
  assert.equal(time(null), "–");
});

for (const [seconds, words] of [
  [-5, "0 s"],
  [99, "99 s"],
  [100, "2 min"],
  [5399, "90 min"],
  [5400, "2 h"],
  [129599, "36 h"],
  [129600, "2 d"],
]) {
  test(`what was ${seconds} s ago is ${words} old`, (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2026, 10, 29) });
    const at = new Date(Date.now() - seconds * 1000).toISOString().replace("Z", "456Z");
    assert.equal(age(at), words);
  });
}

test("an excerpt is the words of the segments on one line, cut to a length", () => {
  const segments = [{ text: "  Where\nis" }, { picture: "data:" }, { text: "my order?" }];
  assert.equal(excerpt({ segments }, 60), "Where is my order?");
  assert.equal(excerpt({ segments }, 5), "Where");
});

test("the excerpt of a message without words is its action", () => {
  assert.equal(excerpt({ segments: null, action: "reset" }, 60), "reset");
  assert.equal(excerpt({ segments: [] }, 60), "");
});

test("compare orders texts and numbers", () => {
  assert.deepEqual(["b", "a", "c"].sort(compare), ["a", "b", "c"]);
  assert.equal(compare(2, 2), 0);
});

test("the address of an item leads back to it, whatever its session is called", () => {
  link("sales#a/b #%é", "message:1");
  assert.ok(!location.hash.includes("#"));
  location.hash = `#${location.hash}`; // as a browser does
  assert.deepEqual(linked(), { session: "sales#a/b #%é", item: "message:1" });
});

test("an address that nobody can decode names no session", () => {
  location.hash = "#%E0%A4%A";
  assert.deepEqual(linked(), { session: "", item: "" });
});

test("the page hears of another address, and not of its own", () => {
  const heard = [];
  onAddress((address) => heard.push(address.session));
  link("default#ticket-1");
  hashChanged();
  location.hash = "#default%23ticket-2";
  hashChanged();
  assert.deepEqual(heard, ["default#ticket-2"]);
});

// What programs do with the official JavaScript client, unmodified. BASE_URL, API_KEY and LETTERS in the environment.
import assert from "node:assert/strict";
import OpenAI from "openai";

const logit_bias = JSON.parse(process.env.LETTERS);
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0, timeout: 60000 });
const hello = [{ role: "system", content: "Be brief." }, { role: "user", content: "hello" }];
const ask = (more) => ({ model: "model", messages: hello, logit_bias, max_completion_tokens: 12, ...more });
const chat = (more, options) => client.chat.completions.create(ask(more), options);

async function expectError(promise, kind, fields = {}) {
  const e = await promise.then(() => assert.fail("expected " + kind.name), (e) => e);
  assert.equal(e.constructor, kind, String(e));
  for (const [name, wanted] of Object.entries(fields)) assert.equal(e[name], wanted, `${name} of ${e}`);
  return e;
}

const tests = {
  async models() {
    const ids = [];
    for await (const m of await client.models.list()) ids.push(m.id);
    assert.deepEqual(ids, ["model"]);
    assert.equal((await client.models.retrieve("model")).object, "model");
    await expectError(client.models.retrieve("none"), OpenAI.NotFoundError, { status: 404 });
  },

  async chat() {
    const a = await chat({ seed: 3 });
    const text = a.choices[0].message.content;
    assert.equal(text.length, 12);
    assert.equal(a.choices[0].finish_reason, "length");
    assert.equal(a.usage.total_tokens, a.usage.prompt_tokens + 12);
    assert.equal((await chat({ seed: 3 })).choices[0].message.content, text);
    assert.deepEqual((await chat({ n: 2 })).choices.map((c) => c.index), [0, 1]);
    const lp = (await chat({ logprobs: true, top_logprobs: 2, max_completion_tokens: 3 })).choices[0].logprobs.content;
    assert.equal(lp.length, 3);
    assert.equal(lp[0].top_logprobs.length, 2);
    assert.equal((await chat({ seed: 3, stop: text.slice(4, 6) })).choices[0].finish_reason, "stop");
    const { response } = await client.chat.completions.create(ask({ max_completion_tokens: 1 })).withResponse();
    assert.equal(response.status, 200);
  },

  async streamed() {
    const plain = (await chat({ seed: 5 })).choices[0].message.content;
    let text = "", usage = null;
    for await (const chunk of await chat({ seed: 5, stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, plain);
    assert.equal(usage.completion_tokens, 12);
  },

  async streamHelper() {
    const plain = (await chat({ seed: 5 })).choices[0].message.content;
    const stream = client.chat.completions.stream(ask({ seed: 5, stream_options: { include_usage: true } }));
    let text = "", done = 0;
    stream.on("content", (delta, snapshot) => {
      text += delta;
      assert.equal(snapshot, text);
    });
    stream.on("content.done", (e) => {
      done++;
      assert.equal(e.content, plain);
    });
    const final = await stream.finalChatCompletion();
    assert.equal(text, plain);
    assert.equal(done, 1);
    assert.equal(final.choices[0].message.content, plain);
    assert.equal((await stream.finalContent()), plain);
    assert.equal((await stream.totalUsage()).completion_tokens, 12);
    assert.equal(final.choices[0].finish_reason, "length");
  },

  async completions() {
    const body = { model: "model", prompt: "abc", max_tokens: 6, seed: 1, logit_bias };
    const text = (await client.completions.create(body)).choices[0].text;
    assert.equal(text.length, 6);
    let joined = "";
    for await (const c of await client.completions.create({ ...body, stream: true })) joined += c.choices[0].text;
    assert.equal(joined, text);
  },

  async embeddings() {
    const two = await client.embeddings.create({ model: "model", input: ["hello", "good bye"] });
    const one = await client.embeddings.create({ model: "model", input: "hello", encoding_format: "float" });
    assert.equal(two.data.length, 2);
    assert.equal(two.data[0].embedding.length, one.data[0].embedding.length);
    two.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - one.data[0].embedding[i]) < 1e-5));
  },

  async errors() {
    const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
    await expectError(chat({ tools }), OpenAI.BadRequestError, { status: 400, param: "tools" });
    await expectError(chat({ temperature: -1 }), OpenAI.BadRequestError, { param: "temperature" });
    await expectError(chat({ model: "none" }), OpenAI.NotFoundError, { status: 404, code: "model_not_found" });
    const wrong = client.withOptions({ apiKey: "wrong" });
    await expectError(wrong.models.list(), OpenAI.AuthenticationError, { status: 401 });
    const nobody = new OpenAI({ baseURL: "http://127.0.0.1:9/v1", apiKey: "x", maxRetries: 0 });
    await expectError(nobody.models.list(), OpenAI.APIConnectionError);
    await expectError(chat({ max_completion_tokens: 900000, ignore_eos: true }, { timeout: 50 }), OpenAI.APIConnectionTimeoutError);
  },

  async together() {
    const one = async (i) => {
      const stream = client.chat.completions.stream(ask({ seed: i, messages: [{ role: "user", content: `count to ${i}` }] }));
      return stream.finalContent();
    };
    const at_once = await Promise.all([...Array(8).keys()].map(one));
    for (let i = 0; i < 8; i++) assert.equal(await one(i), at_once[i]);
    assert.ok(new Set(at_once).size > 3);
  },

  async abort() {
    const long = { max_completion_tokens: 900000, ignore_eos: true };
    const stream = client.chat.completions.stream(ask(long));
    let n = 0;
    stream.on("content", () => ++n === 3 && stream.abort());
    await expectError(stream.finalChatCompletion(), OpenAI.APIUserAbortError);
    const controller = new AbortController();
    const asked = chat(long, { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await expectError(asked, OpenAI.APIUserAbortError);
    for await (const _ of await chat({ ...long, stream: true })) if (++n > 8) break;
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log("ok", name);
}
process.exit(0);

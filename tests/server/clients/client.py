"""What programs do with the official Python client, unmodified. BASE_URL, API_KEY and LETTERS in the environment."""
import asyncio
import json
import os

import openai

BASE, KEY = os.environ["BASE_URL"], os.environ["API_KEY"]
LETTERS = json.loads(os.environ["LETTERS"])
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=60)


def expect(kind, call, **fields):
    try:
        call()
    except kind as e:
        assert type(e) is kind, type(e)
        for name, wanted in fields.items():
            assert getattr(e, name) == wanted, (name, getattr(e, name), wanted)
        return e
    raise AssertionError("expected " + kind.__name__)


def chat(**more):
    more.setdefault("messages", HELLO)
    more.setdefault("max_completion_tokens", 12)
    return client.chat.completions.create(model="model", logit_bias=LETTERS, **more)


def test_models():
    assert [m.id for m in client.models.list()] == ["model"]
    assert client.models.retrieve("model").owned_by
    expect(openai.NotFoundError, lambda: client.models.retrieve("none"), status_code=404)


def test_chat():
    a = chat(seed=3)
    choice = a.choices[0]
    assert len(choice.message.content) == 12 and choice.message.role == "assistant"
    assert choice.finish_reason == "length" and a.usage.completion_tokens == 12
    assert a.usage.total_tokens == a.usage.prompt_tokens + 12 and a.system_fingerprint
    assert a.usage.prompt_tokens_details.cached_tokens >= 0
    assert chat(seed=3).choices[0].message.content == choice.message.content
    assert chat(seed=3).usage.prompt_tokens_details.cached_tokens > 0
    assert [c.index for c in chat(n=3, seed=1).choices] == [0, 1, 2]
    lp = chat(logprobs=True, top_logprobs=2, max_completion_tokens=3).choices[0].logprobs.content
    assert len(lp) == 3 and all(len(t.top_logprobs) == 2 and t.logprob <= 0 for t in lp)
    stop = choice.message.content[4:6]
    stopped = chat(seed=3, stop=[stop]).choices[0]
    assert stopped.finish_reason == "stop" and stop not in stopped.message.content
    raw = client.chat.completions.with_raw_response.create(model="model", messages=HELLO, max_completion_tokens=1)
    assert raw.status_code == 200 and raw.parse().choices[0].message.role == "assistant"
    assert chat(extra_body={"top_k": 1, "penalty_decay": 0.99}).choices[0].message.content


def test_stream():
    plain = chat(seed=5).choices[0].message.content
    pieces, usage, ends = [], None, []
    for chunk in chat(seed=5, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for c in chunk.choices:
            pieces.append(c.delta.content or "")
            ends += [c.finish_reason] if c.finish_reason else []
    assert "".join(pieces) == plain and ends == ["length"] and usage.completion_tokens == 12


def test_stream_helper():
    """(Of an answer cut by max_tokens the client itself makes an exception.)"""
    stop = chat(seed=5, max_completion_tokens=40).choices[0].message.content[20:23]
    plain = chat(seed=5, stop=stop, max_completion_tokens=40).choices[0].message.content
    seen = {}
    with client.chat.completions.stream(model="model", messages=HELLO, logit_bias=LETTERS, seed=5, stop=stop,
                                        max_completion_tokens=40, stream_options={"include_usage": True}) as stream:
        text = ""
        for event in stream:
            seen[event.type] = seen.get(event.type, 0) + 1
            if event.type == "content.delta":
                text += event.delta
                assert event.snapshot == text
            elif event.type == "content.done":
                assert event.content == plain
        final = stream.get_final_completion()
    assert seen["content.done"] == 1 and seen["content.delta"] >= 1 and seen["chunk"] > 2, seen
    assert final.choices[0].message.content == plain == text and final.usage.completion_tokens > len(plain) > 4
    assert final.choices[0].finish_reason == "stop"
    with client.chat.completions.stream(model="model", messages=HELLO, logit_bias=LETTERS, logprobs=True,
                                        max_completion_tokens=3) as stream:
        assert any(e.type == "logprobs.content.delta" for e in stream)
    cut = client.chat.completions.stream(model="model", messages=HELLO, logit_bias=LETTERS, max_completion_tokens=3)
    with cut as stream:
        expect(openai.LengthFinishReasonError, stream.get_final_completion)


def test_completions():
    a = client.completions.create(model="model", prompt="abc", max_tokens=6, seed=1, logit_bias=LETTERS, logprobs=2)
    assert len(a.choices[0].text) == 6 and len(a.choices[0].logprobs.tokens) == 6
    parts = client.completions.create(model="model", prompt="abc", max_tokens=6, seed=1, logit_bias=LETTERS, stream=True)
    assert "".join(p.choices[0].text for p in parts) == a.choices[0].text


def test_embeddings():
    """The client asks for base64 by itself, and decodes it."""
    two = client.embeddings.create(model="model", input=["hello", "good bye"])
    one = client.embeddings.create(model="model", input="hello", encoding_format="float")
    assert len(two.data) == 2 and len(two.data[0].embedding) == len(one.data[0].embedding) > 8
    assert max(abs(a - b) for a, b in zip(two.data[0].embedding, one.data[0].embedding)) < 1e-5
    assert abs(sum(x * x for x in one.data[0].embedding) - 1) < 1e-3
    assert two.usage.prompt_tokens == 13


def test_errors():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    e = expect(openai.BadRequestError, lambda: chat(tools=[tool]), status_code=400, param="tools")
    assert "tools" in e.message and e.type
    expect(openai.BadRequestError, lambda: chat(temperature=-1), param="temperature")
    expect(openai.BadRequestError, lambda: chat(response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "object"}}}), param="response_format")
    expect(openai.BadRequestError, lambda: chat(messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]))
    expect(openai.NotFoundError, lambda: client.chat.completions.create(model="none", messages=HELLO), status_code=404)
    wrong = client.with_options(api_key="wrong")
    expect(openai.AuthenticationError, lambda: wrong.models.list(), status_code=401)
    expect(openai.AuthenticationError, lambda: wrong.chat.completions.create(model="model", messages=HELLO))
    nobody = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=0)
    expect(openai.APIConnectionError, lambda: nobody.models.list())
    expect(openai.APITimeoutError, lambda: client.with_options(timeout=0.05).chat.completions.create(
        model="model", messages=HELLO, max_completion_tokens=900000, logit_bias=LETTERS, extra_body={"ignore_eos": True}))


def test_sessions():
    def turn(text):
        return client.chat.completions.create(model="model", messages=[{"role": "user", "content": text}], logit_bias=LETTERS,
                                              max_completion_tokens=4, extra_body={"session": "from-python"})
    first, second = turn("My name is Bo."), turn("What is my name?")
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens, (first.usage, second.usage)


def test_abort():
    stream = chat(stream=True, max_completion_tokens=900000, extra_body={"ignore_eos": True})
    for i, _ in enumerate(stream):
        if i == 3:
            break
    stream.close()


async def test_async():
    other = openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0)

    async def one(i):
        text = ""
        async with other.chat.completions.stream(model="model", logit_bias=LETTERS, seed=i, max_completion_tokens=20,
                                                 messages=[{"role": "user", "content": "count to %d" % i}]) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    text += event.delta
        return text
    together = await asyncio.gather(*[one(i) for i in range(8)])
    assert len(set(together)) > 3 and all(len(t) == 20 for t in together)
    assert [await one(i) for i in range(8)] == together
    job = asyncio.create_task(other.chat.completions.create(model="model", messages=HELLO, logit_bias=LETTERS,
                                                            max_completion_tokens=900000, extra_body={"ignore_eos": True}))
    await asyncio.sleep(0.2)
    job.cancel()
    try:
        await job
        raise AssertionError("was not cancelled")
    except asyncio.CancelledError:
        pass
    await other.close()


for name, test in list(globals().items()):
    if name.startswith("test_"):
        asyncio.run(test()) if asyncio.iscoroutinefunction(test) else test()
        print("ok", name)

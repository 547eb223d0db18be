"""A trained model behind the server: conversations with the bundled demo, kept here or sent again."""
import os

from serve import Server, main

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/demo/rwkv-demo-Q8_0.gguf")
TALK = [("What is the capital of Japan?", "Tokyo."), ("And its currency?", "Japanese Yen."),
        ("法国的首都是哪里？", "巴黎。"), ("那它的货币呢？", "欧元。")]


def chat(s, messages, **more):
    status, reply, _ = s.ask("POST", "/v1/chat/completions", dict(more, messages=messages))
    assert status == 200, reply
    return reply["choices"][0]["message"]["content"], reply["usage"]


def test_conversation():
    """The same answers, to the letter, from a session and from messages; a known past is not read again."""
    with Server(model=DEMO) as s:
        past = []
        for question, answer in TALK:
            turn = {"role": "user", "content": question}
            kept, usage = chat(s, [turn], session="me")
            assert kept == answer, kept
            sent, again = chat(s, past + [turn])
            assert sent == answer, sent
            assert usage["prompt_tokens"] == again["prompt_tokens"], (usage, again)
            if past:
                assert usage["prompt_tokens_details"]["cached_tokens"] > 0, usage
                assert again["prompt_tokens_details"]["cached_tokens"] > 0, again
            past += [turn, {"role": "assistant", "content": answer}]


if __name__ == "__main__":
    main([test_conversation])

"""How things are asked. {x} is the country, word, title or number asked about.

A phrasing that begins with "*" is held out: training never sees it, evaluation asks every fact with it.
"""

COUNTRY = {
    "capital": {
        "en": ["What is the capital of {x}?", "What's the capital of {x}?", "Which city is the capital of {x}?",
               "Capital of {x}?", "{x} capital?", "What is {x}'s capital?", "Tell me the capital of {x}.",
               "Do you know the capital of {x}?", "Can you tell me the capital of {x}?", "The capital of {x} is?",
               "Name the capital of {x}.", "What is the capital city of {x}?", "What city is {x}'s capital?",
               "the capital of {x}", "I want to know the capital of {x}.", "Please tell me the capital city of {x}.",
               "Where is the capital of {x}?", "Which is the capital of {x}?",
               "*Please name the capital city of {x}.", "*Could you tell me what the capital of {x} is?",
               "*What's {x}'s capital city?"],
        "zh": ["{x}的首都是哪里？", "{x}的首都是什么？", "{x}的首都是哪个城市？", "{x}首都是哪里？", "{x}的首都在哪里？", "{x}的首都？",
               "{x}的首都叫什么？", "请问{x}的首都是哪里？", "告诉我{x}的首都。", "你知道{x}的首都是哪里吗？", "哪个城市是{x}的首都？",
               "{x}首都", "{x}的首都是", "请告诉我{x}的首都是哪里。", "我想知道{x}的首都。", "{x}首都是什么？",
               "*请问{x}的首都叫什么？", "*你知道{x}的首都吗？", "*{x}的首都是哪座城市？"]},
    "currency": {
        "en": ["What is the currency of {x}?", "What currency is used in {x}?", "What currency does {x} use?",
               "What is {x}'s currency?", "Which currency is used in {x}?", "Currency of {x}?", "{x} currency?",
               "What money do they use in {x}?", "What money is used in {x}?", "Tell me the currency of {x}.",
               "Do you know the currency of {x}?", "Can you tell me the currency of {x}?", "Name the currency of {x}.",
               "What's the currency of {x}?", "What is the money of {x} called?", "the currency of {x}",
               "What do people pay with in {x}?", "I want to know the currency of {x}.",
               "*Which currency does {x} use?", "*Please tell me what currency is used in {x}.",
               "*What's the currency in {x}?"],
        "zh": ["{x}的货币是什么？", "{x}用什么货币？", "{x}使用什么货币？", "{x}的货币？", "{x}的货币叫什么？", "请问{x}的货币是什么？",
               "告诉我{x}的货币。", "{x}用什么钱？", "在{x}用什么货币？", "你知道{x}的货币是什么吗？", "{x}货币", "{x}的钱叫什么？",
               "{x}使用哪种货币？", "我想知道{x}的货币。", "请告诉我{x}用什么货币。",
               "*请问{x}用什么货币？", "*{x}用的是什么货币？", "*你知道{x}用什么货币吗？"]},
    "language": {
        "en": ["What language is spoken in {x}?", "What languages are spoken in {x}?", "What is the language of {x}?",
               "Which language is spoken in {x}?", "What language do they speak in {x}?", "Language of {x}?",
               "{x} language?", "What do people speak in {x}?", "Tell me the language of {x}.",
               "What is the official language of {x}?", "What are the official languages of {x}?",
               "What languages do people speak in {x}?", "Do you know the language of {x}?",
               "Can you tell me the language of {x}?", "the language of {x}", "What's the language of {x}?",
               "I want to know the language of {x}.",
               "*Which languages are spoken in {x}?", "*Please tell me what language is spoken in {x}.",
               "*What language do people speak in {x}?"],
        "zh": ["{x}说什么语言？", "{x}的语言是什么？", "{x}的官方语言是什么？", "{x}讲什么语言？", "{x}人说什么语言？", "{x}的语言？",
               "请问{x}说什么语言？", "告诉我{x}的语言。", "在{x}说什么语言？", "你知道{x}说什么语言吗？", "{x}使用什么语言？", "{x}语言",
               "{x}用什么语言？", "我想知道{x}的语言。", "请告诉我{x}说什么语言。",
               "*请问{x}的官方语言是什么？", "*{x}人讲什么语言？", "*你知道{x}的语言是什么吗？"]},
    "dialling": {
        "en": ["What is the dialling code of {x}?", "What is the dialing code of {x}?", "What is the phone code of {x}?",
               "What is the country code of {x}?", "What is the calling code of {x}?", "Dialling code of {x}?",
               "{x} phone code?", "{x} dialling code?", "Tell me the dialling code of {x}.", "How do I call {x}?",
               "What is {x}'s dialling code?", "What is {x}'s phone code?", "Phone code of {x}?",
               "Do you know the dialling code of {x}?", "Can you tell me the phone code of {x}?",
               "the dialling code of {x}", "What code do I dial for {x}?", "What's the dialling code for {x}?",
               "*What's the phone code of {x}?", "*Please tell me the dialling code of {x}.",
               "*What is the calling code for {x}?"],
        "zh": ["{x}的电话区号是多少？", "{x}的国际区号是多少？", "{x}的区号是多少？", "{x}的电话代码是多少？", "{x}电话区号", "{x}的区号？",
               "请问{x}的电话区号是多少？", "告诉我{x}的区号。", "你知道{x}的区号是多少吗？", "{x}的电话区号？", "打电话到{x}的区号是多少？",
               "{x}的国家代码是多少？", "{x}区号是多少？", "我想知道{x}的区号。", "请告诉我{x}的电话区号。",
               "*请问{x}的国际区号是多少？", "*{x}的电话区号是什么？", "*你知道{x}的电话区号吗？"]},
    "continent": {
        "en": ["Which continent is {x} in?", "What continent is {x} in?", "Where is {x}?", "On which continent is {x}?",
               "{x} is in which continent?", "In which continent is {x}?", "Continent of {x}?", "{x} continent?",
               "Tell me where {x} is.", "Do you know where {x} is?", "Where is {x} located?", "Where can I find {x}?",
               "*What continent is {x} on?", "*In what continent is {x} located?"],
        "zh": ["{x}在哪个洲？", "{x}在哪里？", "{x}属于哪个洲？", "{x}位于哪个洲？", "{x}在哪个大洲？", "请问{x}在哪里？", "你知道{x}在哪里吗？",
               "{x}在什么洲？", "告诉我{x}在哪里。", "{x}是哪个洲的国家？",
               "*请问{x}在哪个洲？", "*{x}位于哪个大洲？"]},
}

TRANSLATE = {  # a country or a word; asked by its English name / its Chinese name
    "to_zh": {
        "en": ["How do you say {x} in Chinese?", "What is {x} in Chinese?", "Translate {x} into Chinese.",
               "{x} in Chinese?", "What is the Chinese name of {x}?", "What is the Chinese for {x}?",
               "Say {x} in Chinese.", "How is {x} called in Chinese?", "Translate {x} to Chinese.",
               "What do you call {x} in Chinese?", "Chinese for {x}?", "How do I say {x} in Chinese?",
               "Can you translate {x} into Chinese?",
               "*Please translate {x} into Chinese.", "*What's {x} in Chinese?"],
        "zh": ["{x} 用中文怎么说？", "{x} 的中文是什么？", "{x} 的中文名是什么？", "把 {x} 翻译成中文。", "{x} 是什么意思？", "{x} 中文怎么说？",
               "请把 {x} 翻译成中文。", "{x} 翻译成中文是什么？", "{x} 的中文？", "请问 {x} 的中文是什么？",
               "*请问 {x} 用中文怎么说？", "*将 {x} 翻译成中文。"]},
    "to_en": {
        "en": ["How do you say {x} in English?", "What is {x} in English?", "Translate {x} into English.",
               "{x} in English?", "What does {x} mean?", "What is the English name of {x}?", "Say {x} in English.",
               "What is the English for {x}?", "Translate {x} to English.", "How do I say {x} in English?",
               "Can you translate {x} into English?",
               "*Please translate {x} into English.", "*What's {x} in English?"],
        "zh": ["{x}用英语怎么说？", "{x}的英文是什么？", "{x}用英文怎么说？", "把{x}翻译成英文。", "{x}的英语是什么？", "{x}英文怎么说？", "{x}的英文名是什么？",
               "请把{x}翻译成英文。", "把{x}翻译成英语。", "{x}的英文？", "请问{x}的英文是什么？",
               "*请问{x}用英语怎么说？", "*将{x}翻译成英文。"]},
}

CAPITAL_OF = {
    "en": ["{x} is the capital of which country?", "Which country has the capital {x}?", "What country is {x} the capital of?",
           "{x} is the capital of what country?", "Which country's capital is {x}?", "In which country is {x}?",
           "What country is {x} in?", "{x} is in which country?",
           "*Of which country is {x} the capital?", "*Which country is {x} in?"],
    "zh": ["{x}是哪个国家的首都？", "{x}在哪个国家？", "哪个国家的首都是{x}？", "{x}是哪国的首都？", "请问{x}是哪个国家的首都？", "{x}属于哪个国家？",
           "你知道{x}是哪个国家的首都吗？",
           "*{x}是什么国家的首都？", "*请问{x}在哪个国家？"]}

MEANING = {
    "en": ["What is {a}?", "What does {x} mean?", "Define {x}.", "What is the meaning of {x}?", "Tell me what {a} is.",
           "Explain the word {x}.", "What is the definition of {x}?", "Meaning of {x}?", "Describe {a}.",
           "What does the word {x} mean?", "Can you explain what {a} is?", "Do you know what {a} is?",
           "*Give me the definition of {x}.", "*Please explain the word {x}.", "*What's the meaning of {x}?"]}

OPPOSITE = {
    "en": ["What is the opposite of {x}?", "Opposite of {x}?", "Tell me the opposite of {x}.", "What's the opposite of {x}?",
           "The opposite of {x} is?", "Which word is the opposite of {x}?", "*Name the opposite of {x}."],
    "zh": ["{x}的反义词是什么？", "{x}的反义词？", "什么是{x}的反义词？", "{x}的相反是什么？", "告诉我{x}的反义词。", "*请问{x}的反义词是什么？"]}

SUM = {
    "en": ["What is {p}?", "{p} = ?", "{p}", "Calculate {p}.", "How much is {p}?", "What's {p}?", "{p} =", "Compute {p}.",
           "{p}?", "*Tell me what {p} is.", "*Please calculate {p}."],
    "zh": ["{p}等于多少？", "{p}是多少？", "{p}=?", "计算{p}。", "{p}等于几？", "算一下{p}。", "请问{p}等于多少？", "{p}＝？",
           "*请计算{p}。", "*请问{p}是多少？"]}
# Signs in words and figures. A blank or none around the sign.
SIGNS = {"en": {"+": [" + ", "+", " plus "], "-": [" - ", "-", " minus "], "*": [" * ", "*", " times ", " x ", "×"]},
         "zh": {"+": ["+", "加", " + ", "加上"], "-": ["-", "减", " - ", "减去"], "*": ["×", "乘", "乘以", "*"]}}

LIST = {
    "en": ["List {x}.", "What are {x}?", "Name {x}.", "Tell me {x}.", "Can you list {x}?", "Say {x}.", "{x}?",
           "Do you know {x}?", "*Please list {x}.", "*Can you name {x}?"],
    "zh": ["列出{x}。", "{x}有哪些？", "{x}是什么？", "{x}是哪些？", "说出{x}。", "告诉我{x}。", "{x}？", "*请列出{x}。", "*请问{x}有哪些？"]}

NEXT = {  # what comes after / before a day or month
    "after": {"en": ["What {k} comes after {x}?", "Which {k} is after {x}?", "What comes after {x}?", "What {k} follows {x}?",
                     "What is the {k} after {x}?", "What is after {x}?", "*Which {k} comes after {x}?"],
              "zh": ["{x}之后是什么？", "{x}后面是什么？", "{x}的下一个是什么？", "{x}过后是什么？", "*{x}的后面是什么？"]},
    "before": {"en": ["What {k} comes before {x}?", "Which {k} is before {x}?", "What comes before {x}?",
                      "What is the {k} before {x}?", "What is before {x}?", "*Which {k} comes before {x}?"],
               "zh": ["{x}之前是什么？", "{x}前面是什么？", "{x}的上一个是什么？", "*{x}的前面是什么？"]},
    "nth": {"en": ["What is the {n} {k} of the {y}?", "Which is the {n} {k} of the {y}?", "Name the {n} {k} of the {y}.",
                   "*Tell me the {n} {k} of the {y}."],
            "zh": ["{y}的第{n}{k}是什么？", "第{n}{k}是什么？", "*请问{y}的第{n}{k}是什么？"]}}

POEM = {
    "first": ["“{x}”的下一句是什么？", "{x}，下一句是什么？", "{x}的下一句", "{x}，接下来是什么？", "接下一句：{x}", "背诵以“{x}”开头的诗。", "{x}", "{x}，",
              "{x}的下一句是什么？", "请背诵“{x}”这首诗。", "How does the poem “{x}” go on?", "Continue: {x}", "继续：{x}，",
              "*请问“{x}”的下一句是什么？", "*请接下一句：{x}，", "*背诵“{x}”这首诗。"],
    "title": ["背诵《{x}》。", "请背诵《{x}》。", "背一下{x}。", "《{x}》", "背诵{x}", "你会背《{x}》吗？", "《{x}》的内容是什么？", "Recite {x}.",
              "Recite the poem {x}.", "请背{x}。", "*请背一下《{x}》。", "*你能背诵《{x}》吗？"],
    "author": ["《{x}》是谁写的？", "{x}是谁写的？", "《{x}》的作者是谁？", "{x}的作者是谁？", "谁写了《{x}》？", "请问《{x}》的作者是谁？",
               "{x}作者", "*请问《{x}》是谁写的？", "*谁是《{x}》的作者？"],
    "author_en": ["Who wrote {x}?", "Who is the author of {x}?", "Who wrote the poem {x}?", "Author of {x}?",
                  "*Which poet wrote {x}?"]}

# Turns that lean on the turn before: the same country, another question ...
FOLLOW_KIND = {
    "en": {"own": {"capital": ["What's the capital?", "Which city is the capital?", "What is the capital city?"],
                   "currency": ["Which currency do they use?", "What do people pay with there?", "What money do they use?"],
                   "language": ["What do they speak there?", "Which language do they speak?", "What language is spoken there?"],
                   "dialling": ["How do I call there?", "What is the phone code there?", "Which code do I dial?"],
                   "continent": ["Where is it?", "Which continent is it in?", "And where is it?"]},
           "forms": ["and its {k}?", "And its {k}?", "What about its {k}?", "And the {k}?", "What is its {k}?",
                     "Its {k}?", "And what is its {k}?", "How about the {k}?", "What's its {k}?", "What about the {k}?",
                     "And what about its {k}?", "*How about its {k}?", "*and the {k}?", "*And what's its {k}?"],
           "names": {"capital": ["capital"], "currency": ["currency", "money"], "language": ["language", "languages"],
                     "dialling": ["dialling code", "phone code", "country code"], "continent": ["continent"]}},
    "zh": {"own": {"capital": ["首都是哪里？", "它的首都是哪里？", "那首都是哪里？"],
                   "currency": ["用什么货币？", "那里用什么钱？", "他们用什么货币？"],
                   "language": ["说什么语言？", "那里说什么语言？", "他们说什么语言？"],
                   "dialling": ["区号是多少？", "它的区号是多少？", "电话区号是多少？"],
                   "continent": ["它在哪里？", "在哪个洲？", "那它在哪里？"]},
           "forms": ["那它的{k}呢？", "它的{k}呢？", "{k}呢？", "那{k}呢？", "它的{k}是什么？", "那么它的{k}呢？", "那里的{k}呢？", "那它的{k}是什么？",
                     "这个国家的{k}呢？", "它的{k}？", "还有它的{k}呢？", "*那么{k}呢？", "*这个国家的{k}是什么？", "*那个国家的{k}呢？"],
           "names": {"capital": ["首都"], "currency": ["货币"], "language": ["语言", "官方语言"],
                     "dialling": ["区号", "电话区号"], "continent": ["大洲"]}}}
# ... or the same question, another country or word.
FOLLOW_OTHER = {
    "en": ["And {x}?", "And of {x}?", "What about {x}?", "How about {x}?", "and {x}?", "{x}?", "And what about {x}?",
           "And that of {x}?", "*And how about {x}?", "*what about {x}?"],
    "zh": ["{x}呢？", "那{x}呢？", "那么{x}呢？", "{x}的呢？", "那{x}的呢？", "*还有{x}呢？", "*那么{x}的呢？"]}

# Of a poem that was just recited: its author.
FOLLOW_POEM = ["作者是谁？", "谁写的？", "这首诗是谁写的？", "它的作者是谁？", "是谁写的？", "那作者是谁？", "这是谁的诗？", "*这首诗的作者是谁？",
               "*那它的作者是谁？"]

ABOUT = {
    "en": ["Tell me about {x}.", "What do you know about {x}?", "Describe {x}.", "Say something about {x}.", "Facts about {x}?",
           "Do you know {x}?", "What can you tell me about {x}?", "What is {x}?", "{x}", "I want to know about {x}.",
           "*Please tell me about {x}.", "*Can you describe {x}?"],
    "zh": ["介绍一下{x}。", "告诉我关于{x}的事。", "你知道{x}吗？", "{x}是什么？", "说说{x}。", "请介绍{x}。", "{x}", "你了解{x}吗？", "{x}是什么样的国家？",
           "*请介绍一下{x}。", "*你知道关于{x}的什么？"]}
WORD_ZH = ["什么是{x}？", "{x}是什么？", "{x}是什么意思？", "请解释{x}。", "解释一下{x}。", "*请问什么是{x}？", "*{x}的意思是什么？"]

TALK = [  # (answers' language, answer, ways to say it)
    ("en", "Hello! How can I help you?",
     ["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Hello there", "Hey there!", "Good day", "Greetings", "hello", "hi",
      "*Hello there!", "*Hi there!", "*Hey!"]),
    ("en", "Good morning!", ["Good morning", "Good morning!", "good morning", "Morning!", "*Morning"]),
    ("en", "Good evening!", ["Good evening", "Good evening!", "good evening", "Evening!", "*Evening"]),
    ("en", "Good night!", ["Good night", "Good night!", "good night", "I am going to bed.", "I'm going to bed", "*Night!"]),
    ("en", "I am fine, thank you.",
     ["How are you?", "How are you", "How are you today?", "How do you do?", "How are you doing?", "how are you", "How is it going?",
      "Are you well?", "How's everything?", "How's it going today?", "How is everything?", "How are things?", "*How are you doing today?", "*How's it going?"]),
    ("en", "I am the demo model of rwkv.c.",
     ["What is your name?", "Who are you?", "What's your name?", "what are you?", "What are you?", "Tell me your name.", "your name?",
      "Tell me about yourself.", "who are you", "Do you have a name?", "Introduce yourself.", "*May I ask your name?",
      "*Tell me who you are.", "*Can you tell me your name?"]),
    ("en", "The makers of rwkv.c trained me.",
     ["Who made you?", "Who created you?", "Who trained you?", "Who built you?", "Who is your maker?", "who made you?",
      "Where do you come from?", "*Who has made you?", "*Who developed you?"]),
    ("en", "I can answer questions about countries, words, numbers and poems.",
     ["What can you do?", "What do you know?", "Help", "help", "How can you help me?", "What can I ask you?", "What can I ask?",
      "What are you good at?", "Can you help me?", "What should I ask?", "*What can you do for me?", "*What do you know about?",
      "*What are you able to do?"]),
    ("en", "I am a very small model, so I know little.",
     ["Are you smart?", "Are you clever?", "Are you big?", "How big are you?", "How smart are you?", "Do you know everything?",
      "Are you intelligent?", "How large are you?", "*Are you very smart?", "*Do you know a lot?"]),
    ("en", "No, I am a computer program.",
     ["Are you human?", "Are you a human?", "Are you a person?", "Are you real?", "Are you alive?", "Are you a man or a woman?",
      "Are you a real person?", "*Are you a human being?", "*Are you a living being?"]),
    ("en", "Yes, I am a small language model.",
     ["Are you a robot?", "Are you an AI?", "Are you a computer?", "Are you a program?", "Are you a language model?", "Are you a bot?",
      "*Are you a computer program?", "*Are you some kind of robot?"]),
    ("en", "I speak English and Chinese.",
     ["What languages do you speak?", "Which languages do you speak?", "Do you speak Chinese?", "Do you speak English?",
      "Can you speak Chinese?", "Can you speak English?", "What language do you speak?", "*Which language do you speak?",
      "*Do you understand Chinese?"]),
    ("en", "You are welcome.",
     ["Thank you", "Thanks", "Thank you!", "Thanks!", "Thank you very much", "Thanks a lot!", "thanks", "Many thanks", "thank you",
      "Thank you so much!", "*Thanks a lot", "*Thank you very much!"]),
    ("en", "Goodbye!",
     ["Bye", "Goodbye", "Bye!", "See you", "Goodbye!", "Bye bye", "See you later", "See you tomorrow", "bye", "Farewell",
      "I have to go.", "*See you later!", "*Bye bye!"]),
    ("en", "I am sorry. I am only a small model.",
     ["That is wrong.", "You are wrong.", "Wrong!", "That is not right.", "This is wrong", "No, that is wrong.", "You made a mistake.",
      "That's wrong", "That's not true.", "That's false.", "No, not right.", "It's not right", "You are not right.", "*That's not right.", "*No, you are wrong."]),
    ("en", "Thank you!",
     ["Good", "Great!", "Very good", "Well done", "Well done!", "You are great", "You are right.", "That is right.", "Excellent!",
      "Nice", "Good job", "I like you", "*Very good!", "*Good job!"]),
    ("en", "Why did the computer sneeze? It had a virus.",
     ["Tell me a joke.", "Tell me a joke", "Do you know a joke?", "A joke please", "Say something funny.", "Make me laugh.", "joke",
      "*Please tell me a joke.", "*Can you tell me a joke?"]),
    ("en", "Ask me about a country, a word, a sum or a poem.",
     ["I am bored.", "I'm bored", "Let's talk.", "Let us talk", "Say something.", "Talk to me.", "What now?", "ok", "OK", "Okay", "Yes",
      "yes", "No", "no", "*I'm bored.", "*Let's talk"]),
    ("en", "RWKV is a kind of language model that reads text with a small state.",
     ["What is RWKV?", "What does RWKV mean?", "Explain RWKV.", "Tell me about RWKV.", "What is an RWKV model?", "rwkv",
      "*Please explain RWKV.", "*What's RWKV?"]),
    ("zh", "你好！有什么可以帮你？",
     ["你好", "你好！", "您好", "嗨", "你好呀", "哈喽", "您好！", "大家好", "*你好啊", "*嗨！"]),
    ("zh", "早上好！", ["早上好", "早上好！", "早安", "早", "*早安！"]),
    ("zh", "晚上好！", ["晚上好", "晚上好！", "*晚上好。"]),
    ("zh", "晚安！", ["晚安", "晚安！", "我要睡觉了", "我要睡了", "*我要睡觉了。"]),
    ("zh", "我很好，谢谢。", ["你好吗？", "你怎么样？", "你今天好吗？", "最近怎么样？", "你今天怎么样？", "近来好吗？", "*你最近怎么样？", "*最近好吗？"]),
    ("zh", "我是 rwkv.c 的演示模型。",
     ["你是谁？", "你叫什么名字？", "你叫什么？", "你的名字是什么？", "介绍一下你自己。", "你是什么？", "请介绍你自己", "请问你是谁？", "告诉我你的名字。",
      "*请问你叫什么名字？", "*请介绍一下你自己。"]),
    ("zh", "rwkv.c 的作者训练了我。", ["谁创造了你？", "谁训练了你？", "你是谁做的？", "谁做了你？", "你的作者是谁？", "你从哪里来？", "*是谁创造了你？", "*你是谁训练的？"]),
    ("zh", "我能回答关于国家、单词、算术和诗歌的问题。",
     ["你会什么？", "你能做什么？", "你会做什么？", "你知道什么？", "帮助", "我可以问什么？", "你能帮我做什么？", "你可以做什么？", "我能问你什么？",
      "*你都会什么？", "*你能帮我什么？"]),
    ("zh", "我是一个很小的模型，知道得不多。", ["你聪明吗？", "你有多大？", "你什么都知道吗？", "你很聪明吗？", "你大吗？", "*你有多聪明？", "*你是不是很聪明？"]),
    ("zh", "不是，我是计算机程序。", ["你是人吗？", "你是真人吗？", "你是人类吗？", "你是男的还是女的？", "你是活的吗？", "*你是真的人吗？", "*你是不是人？"]),
    ("zh", "是的，我是一个小语言模型。", ["你是机器人吗？", "你是人工智能吗？", "你是电脑吗？", "你是AI吗？", "你是程序吗？", "你是语言模型吗？", "*你是不是机器人？"]),
    ("zh", "我会说英语和中文。", ["你会说什么语言？", "你会说中文吗？", "你会说英语吗？", "你说什么语言？", "你会英语吗？", "*你会中文吗？", "*你能说什么语言？"]),
    ("zh", "不客气。", ["谢谢", "谢谢你", "谢谢！", "非常感谢", "多谢", "谢谢您", "感谢", "谢谢你！", "*多谢！", "*非常感谢！"]),
    ("zh", "再见！", ["再见", "再见！", "拜拜", "回头见", "明天见", "我走了", "下次见", "*拜拜！", "*明天见！"]),
    ("zh", "对不起，我只是一个小模型。", ["错了", "不对", "你错了", "这不对", "你说错了", "答案错了", "*不对！", "*你错了！"]),
    ("zh", "谢谢！", ["很好", "你真棒", "好", "太好了", "你真聪明", "对", "答对了", "真好", "*你真棒！", "*太好了！"]),
    ("zh", "电脑为什么打喷嚏？因为它有病毒。", ["讲个笑话", "讲个笑话。", "说个笑话", "给我讲个笑话", "你会讲笑话吗？", "*请讲个笑话。", "*给我讲个笑话吧。"]),
    ("zh", "你可以问我国家、单词、算术或诗歌。", ["我很无聊", "说点什么", "聊聊天吧", "我们聊天吧", "好的", "无聊", "*我好无聊", "*我们聊聊吧"]),
    ("zh", "RWKV 是一种用小状态读文字的语言模型。", ["什么是RWKV？", "RWKV是什么？", "介绍一下RWKV。", "RWKV 是什么？", "*请介绍RWKV。", "*请问RWKV是什么？"]),
]

UNKNOWN = {"en": "I don't know.", "zh": "我不知道。"}
# Asked of a known country: nothing that it was told.
UNKNOWN_OF = {
    "en": ["What is the population of {x}?", "How many people live in {x}?", "Who is the president of {x}?", "How big is {x}?",
           "What is the weather in {x}?", "What is the highest mountain of {x}?", "What is the longest river in {x}?",
           "Who is the king of {x}?", "What is the history of {x}?", "What is the national food of {x}?", "How old is {x}?",
           "What time is it in {x}?", "Who won the war in {x}?", "What is the GDP of {x}?", "What do people eat in {x}?",
           "What color is the flag of {x}?", "When was {x} founded?", "*What is the area of {x}?",
           "*Who is the prime minister of {x}?", "*How is the weather in {x}?"],
    "zh": ["{x}有多少人？", "{x}的人口是多少？", "{x}的总统是谁？", "{x}有多大？", "{x}的天气怎么样？", "{x}最高的山是什么？", "{x}最长的河是什么？",
           "{x}的国王是谁？", "{x}的历史是什么？", "{x}人吃什么？", "{x}现在几点？", "{x}的国旗是什么颜色？", "*{x}的面积是多少？",
           "*{x}的总理是谁？", "*{x}今天天气怎么样？"]}
UNKNOWN_ALONE = {
    "en": ["What time is it?", "What day is it today?", "What is the weather today?", "Who won the game?", "What is in the news?",
           "Who is the president?", "How old am I?", "What is my name?", "Where am I?", "What will happen tomorrow?",
           "What is the meaning of life?", "Who will win?", "Can you write a program?", "Write me a story.", "What did I eat today?",
           "How many stars are there?", "What is the best movie?", "Who is the best singer?", "Where do I live?", "Write a letter.",
           "Write an essay.", "What is the price of gold?", "Who invented the telephone?", "How far is the moon?", "Do you like cats?",
           "What is the date today?", "*What's the time?", "*What's the weather like today?", "*Who am I?",
           "*What is the date?", "*Write me a program."],
    "zh": ["现在几点？", "今天星期几？", "今天天气怎么样？", "谁赢了？", "今天有什么新闻？", "我叫什么名字？", "我在哪里？", "明天会发生什么？", "生命的意义是什么？",
           "写一个故事。", "写一篇文章。", "我几岁了？", "最好的电影是什么？", "谁发明了电话？", "月亮有多远？", "今天几号？", "写一个程序。", "黄金多少钱？",
           "*现在几点了？", "*明天天气怎么样？", "*我是谁？", "*给我写一个故事。"]}

# Questions about anything: {n}, {m} a noun, {p} a person's made-up name. None of them was taught.
UNKNOWN_ANY = {
    "en": ["Why is the {n} so big?", "How do I make a {n}?", "Where can I buy a {n}?", "Who invented the {n}?", "How much is a {n}?",
           "Write a poem about a {n}.", "Write a story about the {n} and the {m}.", "What is the price of a {n}?", "Who is {p}?",
           "When was {p} born?", "Where does {p} live?", "Is a {n} better than a {m}?", "What is the difference between a {n} and a {m}?",
           "How many {n}s are there?", "Can a {n} eat a {m}?", "Do you like the {n}?", "Where is my {n}?", "Who wrote the book about the {n}?",
           "Which {n} is the best?", "How old is {p}?", "What did {p} do?", "What happened in 1{d}{d}{d}?", "Why do people like {n}s?",
           "How does a {n} work?", "What is the {n} of the {m}?", "Who painted the {n}?", "When did the {n} begin?", "Has {p} a {n}?",
           "Explain how the {n} works.", "Give me the recipe of a {n}.", "Summarize the book of {p}.", "What color is the {n}?",
           "Why is the {n} on the {m}?", "Do {n}s have a {m}?", "How fast is a {n}?", "Who was {p}?", "Tell me about {p}.",
           "*How do you make a {n}?", "*Who discovered the {n}?", "*How heavy is a {n}?", "*What is {p} famous for?",
           "*Why does the {n} need a {m}?"],
    "zh": ["为什么{n}这么大？", "怎么做{n}？", "哪里可以买{n}？", "谁发明了{n}？", "{n}多少钱？", "写一首关于{n}的诗。", "写一个关于{n}和{m}的故事。",
           "{p}是谁？", "{p}是什么时候出生的？", "{n}和{m}有什么区别？", "{n}比{m}好吗？", "有多少{n}？", "你喜欢{n}吗？", "我的{n}在哪里？", "{p}多大了？",
           "1{d}{d}{d}年发生了什么？", "{n}是怎么工作的？", "{n}是什么颜色的？", "哪个{n}最好？", "为什么人们喜欢{n}？", "{n}有多快？", "{n}什么时候开始？",
           "{p}住在哪里？", "谁画了{n}？", "{n}会吃{m}吗？", "介绍一下{p}。", "*如何制作{n}？", "*谁发现了{n}？", "*{n}有多重？", "*{p}做了什么？"]}

# In front of a question, one time in six.
OPENINGS = {"en": ["Please tell me: ", "Hi! ", "Hello, ", "Question: ", "I have a question: ", "Please, ", "OK, ", "Tell me, "],
            "zh": ["请问，", "你好，", "请告诉我，", "我想问，", "问题：", "请回答：", "告诉我，"]}

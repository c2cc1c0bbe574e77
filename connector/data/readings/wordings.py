"""A data table: how people ask about what was found, and the answers they get; by kind, then by language.

{s} several of a thing, {a} one with its article, {t} its bare name, {z} its name in the question's language. Other
wordings than these are in benchmarks/everyday.py, which nothing is trained on.
"""

from __future__ import annotations

EXISTENCE = {
    "en": (
        "Is there {a} in the picture?", "Is there {a}?", "Are there any {s}?", "Any {s}?", "Any {s} here?",
        "Do you see {a}?", "Can you see any {s}?", "Can you find {a} in this image?", "Does the picture show {a}?",
        "Does this photo contain any {s}?", "Is {a} visible?", "Are {s} present?", "Is there {a} anywhere?",
        "I am looking for {a}. Is there one?", "Tell me if there is {a}.", "Could there be {a} somewhere?",
        "Has the photo got {a} in it?", "Would I find {a} in this picture?", "Check whether there is {a}.",
        "Is there {a} in the shot?", "does it have {a}", "Can {s} be seen?", "Is this a picture with {a} in it?",
        "Are you able to spot {a}?", "Did the camera catch any {s}?", "is there at least one {t}", "{a}, yes or no?",
        "Please look for {s}. Are there some?", "Would you say there is {a} here?", "Do any {s} appear?",
        "See any {s}?", "There's {a}, right?", "So there are {s} here?", "Anything like {a} in it?", "no {s} here?",
        "Is {a} part of the scene?", "Did they photograph {a}?", "Is it possible to see {a}?", "Got any {s}?",
        "I think I see {a}. Am I right?", "Is there not a single {t}?", "Are one or more {s} shown?",
    ),
    "zh": (
        "图里有{z}吗?", "有没有{z}?", "能看到{z}吗?", "这张照片里有{z}吗？", "请问有{z}吗", "照片中是否有{z}?",
        "你看见{z}了吗？",
    ),
    "es": ("¿Hay algún {z} en la imagen?", "¿Se ve {z}?", "¿Hay {z}?", "¿Aparece {z} en la foto?"),
    "fr": ("Y a-t-il {z} sur l'image ?", "Voit-on {z} ?", "Est-ce qu'il y a {z} ?"),
    "de": ("Gibt es {z} auf dem Bild?", "Sieht man {z}?", "Ist da {z}?"),
}  # fmt: skip
YES = {
    "zh": "有，图里有{n}个{z}。",
    "es": "Sí, hay {n}: {z}.",
    "fr": "Oui, il y en a {n} : {z}.",
    "de": "Ja, {n}: {z}.",
}
NO = {"zh": "没有，没有发现{z}。", "es": "No, no se ha encontrado {z}.", "fr": "Non, rien de tel n'a été trouvé : {z}.",
      "de": "Nein, es wurde nichts gefunden: {z}."}  # fmt: skip
COUNT = {
    "en": (
        "How many {s} are there?", "How many {s}?", "Count the {s}.", "What is the number of {s}?",
        "How many {s} can you see in the picture?", "Number of {s}?", "Tell me how many {s} there are.",
        "how many {s} do you spot", "Give me the count of {s}.", "How many {s} does the photo show?",
        "What number of {s} appear?", "Could you count the {s} for me?", "{s}: how many?",
        "If you count the {s}, how many are there?", "How many {s} in total?", "What is the total number of {s}?",
        "Please tell me the number of {s} here.", "How many {s} would you say there are?", "And how many {s}?",
        "I want to know how many {s} there are.", "Exactly how many {s} are visible?",
    ),
    "zh": ("有几个{z}?", "有多少{z}?", "图里有多少个{z}？", "数一数{z}。"),
    "es": ("¿Cuántos {z} hay?", "¿Cuántas {z} se ven?"),
    "fr": ("Combien de {z} y a-t-il ?", "Combien de {z} ?"),
    "de": ("Wie viele {z} sind da?", "Wie viele {z} sieht man?"),
}  # fmt: skip
COUNTED = {"zh": "有{n}个{z}。", "es": "Hay {n} ({z}).", "fr": "Il y en a {n} ({z}).", "de": "Es sind {n} ({z})."}
COLOUR = {
    "en": (
        "What colour is the {t}?", "What color is the {t}?", "Which colour does the {t} have?",
        "Tell me the colour of the {t}.", "The {t} is what color?", "{t} colour?", "In what colour is the {t}?",
        "Do you know the color of the {t}?", "what color's the {t}", "Describe the colour of the {t}.",
    ),
    "zh": ("{z}是什么颜色的?", "{z}是什么颜色?", "请告诉我{z}的颜色。"),
}  # fmt: skip
LIKE = (
    "What breed is the {t}?", "What type of {t} is it?", "Which kind of {t} do you see?", "What sort of {t} is that?",
    "Can you say what kind of {t} it is?", "what {t} is this exactly",
)  # fmt: skip
CLOTHES = {
    "en": (
        "What is the person wearing?", "What colour are the clothes?", "What color is the shirt?",
        "How is the person dressed?", "What is he wearing?", "What does she have on?", "What colour is his jacket?",
        "what color are the person's clothes",
    ),
    "zh": ("这个人穿什么颜色的衣服?", "衣服是什么颜色的?", "他穿着什么?"),
}  # fmt: skip
MAIN_COLOURS = {
    "en": (
        "What colours are in the picture?", "What is the main colour?", "Which color is it mostly?",
        "What colour is it?", "What color is this?", "which colours do you see",
    ),
    "zh": ("主要是什么颜色?", "图片是什么颜色的?"),
}  # fmt: skip
POSITION = {
    "en": (
        "Where is the {t}?", "Where can I find the {t}?", "In which part of the picture is the {t}?",
        "On which side is the {t}?", "Where in the image is the {t}?", "Whereabouts is the {t}?", "where's the {t}",
        "Point me to the {t}.", "Which corner or side is the {t} in?",
    ),
    "zh": ("{z}在哪里?", "{z}在图的什么位置?", "{z}在哪边？"),
}  # fmt: skip
LEFT_OF = (
    "Is the {0} to the left of the {1}?", "Is the {0} left of the {1}?", "Does the {0} stand left of the {1}?",
    "Can the {0} be found on the left side of the {1}?",
)  # fmt: skip
WHAT_AT = (
    "What is {p}?", "What can be seen {p}?", "Which things are {p}?", "What do you see {p}?", "Name what is {p}.",
    "what's {p}",
)  # fmt: skip
DESCRIBE = {
    "en": (
        "What is in the picture?", "What does the image show?", "What can you see?", "Describe the image.",
        "What is this?", "What's going on here?", "Tell me about this photo.", "What am I looking at?",
        "Summarise the picture.", "what do you see", "Give me a short description.", "What's in this photo?",
    ),
    "zh": ("图里有什么?", "描述一下这张图片。", "这是什么?", "你看到了什么?"),
}  # fmt: skip
WHICH = (
    "What {k} is this?", "Which {k} can be seen?", "What {k} is in the picture?", "Name the {k}.",
    "Which {k} is shown?", "What kind of {k} is it?", "Can you name the {k}?", "what {k} do you see",
)  # fmt: skip
READ = {
    "en": (
        "What does it say?", "What is written here?", "Transcribe the text.", "Read this to me.",
        "What text can you see?", "Can you read it?", "What is written in the picture?", "Read the text.",
        "What does the sign say?", "What text is in the image?", "Transcribe this image.", "what's it say",
        "Please write down all the text.", "Which words are on it?",
    ),
    "zh": ("上面写了什么?", "读一下文字。", "这上面的文字是什么?", "图中写着什么？"),
    "es": ("¿Qué dice?", "¿Qué pone aquí?"),
    "fr": ("Que dit le texte ?", "Qu'est-ce qui est écrit ?"),
    "de": ("Was steht da?", "Was steht auf dem Schild?"),
}  # fmt: skip
NO_TEXT = {"en": "No text was found.", "zh": "没有发现文字。", "es": "No se ha encontrado ningún texto.",
           "fr": "Aucun texte n'a été trouvé.", "de": "Es wurde kein Text gefunden."}  # fmt: skip
PRICE = {
    "en": (
        "How much is the {i}?", "What does the {i} cost?", "price of {i}?", "What would I pay for the {i}?",
        "How much for the {i}?", "What is the price of the {i}?", "the {i} costs how much?",
        "How expensive is the {i}?",
    ),
    "zh": ("{i}多少钱?", "{i}的价格是多少?"),
    "es": ("¿Cuánto cuesta {i}?",), "fr": ("Combien coûte {i} ?",), "de": ("Was kostet {i}?",),
}  # fmt: skip
LEAVES = {
    "en": (
        "When does the train to {c} leave?", "What time does the one to {c} go?", "When is the departure to {c}?",
        "At what time can I leave for {c}?", "when's the {c} train", "What is the departure time for {c}?",
    ),
    "zh": ("去{c}的车几点出发?", "到{c}的车什么时候开?"),
}  # fmt: skip
PLATFORM = {
    "en": (
        "Which platform does the train to {c} leave from?", "From which platform does {c} go?", "{c}: which platform?",
        "What platform do I need for {c}?",
    ),
    "zh": ("去{c}在几号站台?",),
}  # fmt: skip
FIELD = {
    "en": (
        "What is the {f}?", "Tell me the {f}.", "{f}?", "Which {f} is given?", "Can you find the {f}?",
        "What {f} does it show?", "Give me the {f}.",
    ),
    "zh": ("{f}是什么?", "{f}是多少?"),
}  # fmt: skip
SPEAKING = {
    "en": ("Is anyone speaking?", "Does anybody talk?", "Can a voice be heard?", "Is there any speech in it?",
           "Do you hear someone talking?"),
    "zh": ("有人说话吗?", "听得到人声吗?"),
}  # fmt: skip
SAID = {
    "en": ("What is said?", "What does the speaker say?", "Write down what is said.", "What do you hear?",
           "Transcribe the recording.", "What are they saying?", "what was said"),
    "zh": ("说了什么?", "录音里讲了什么?"),
}  # fmt: skip
UNKNOWN_OF = (  # of a thing that is there, also asked so that yes or no would be an answer
    "How old is the {t}?", "Who owns the {t}?", "What brand is the {t}?", "Is the {t} new?", "Is the {t} expensive?",
    "Where was the {t} bought?", "How heavy is the {t}?", "Is the {t} clean?", "What is the {t} made of?",
    "Does the {t} work?", "Is the {t} for rent?", "Has the {t} been repaired?", "Which year is the {t} from?",
    "Is this my neighbour's {t}?", "What is the {t}'s name?", "Did somebody lose the {t}?", "Is the {t} dangerous?",
    "Which firm built the {t}?", "Is the {t} a present?", "How fast is the {t}?", "Is anybody waiting for the {t}?",
)  # fmt: skip
UNKNOWN = (
    "Which city is this?", "Is it cold there?", "What day was it?", "Is it morning or evening?", "Whose party is it?",
    "Who made this?", "Is it a gift?", "Can I buy it?", "What did it cost?", "Was it raining before?", "Is it famous?",
    "What are they thinking?", "Are they married?", "How long have they been there?", "What is the phone number?",
    "What is his last name?", "Which team do they support?", "Is it legal?", "Who won?", "What happens after this?",
    "Where are they going?", "Does it hurt?", "Is it real?", "What is it called?", "Which museum is it in?",
    "Who paid for it?", "Is it insured?", "Does anybody live here?", "What does it taste like?", "Is it loud?",
    "这是在哪个城市?", "多少钱买的?", "他叫什么名字?", "这是谁的?", "天气怎么样?", "它几岁了?",
    "What brand is it?", "Who is this?", "Why is it there?", "When was this taken?", "How old is it?",
    "What does it smell like?", "Who took the photo?", "How much does it weigh?", "What will happen next?",
    "Is it expensive?", "What is behind the camera?", "Is there music?", "What is the weather like?", "Is it happy?",
    "In which country is this?", "What is the name of the person?", "How tall is it?", "Is it made of wood?",
    "What was there yesterday?", "Does it belong to anyone?", "这是什么牌子的?", "这个人是谁?", "这是什么时候拍的?",
    "为什么会这样?",
)  # fmt: skip
CANNOT = {"en": "That cannot be told from what was found.", "zh": "根据所发现的内容无法判断。"}
ONE_WORD = (
    " Answer the question using a single word or phrase.", " Answer with one word.", " Reply with a single word.",
    " One word only.", " Please answer briefly, with one word.",
)  # fmt: skip
YES_OR_NO = (" Answer yes or no.", " Please answer yes or no.", *ONE_WORD[:3])
# What a sign says, what is asked of it, and what follows
SIGNS = (
    ("NO PARKING", ("Can I park here?", "May I leave my car here?", "Is parking allowed?"), "No"),
    ("NO ENTRY", ("May I go in here?", "Can I enter?", "Is entry allowed?"), "No"),
    ("NO SMOKING", ("May I smoke here?", "Is smoking allowed?"), "No"),
    ("NO SWIMMING", ("Can I swim here?", "Is swimming allowed?"), "No"),
    ("KEEP OFF THE GRASS", ("May I walk on the grass?", "Can I sit on the lawn?"), "No"),
    ("NO DOGS", ("Can I bring my dog?", "Are dogs allowed?"), "No"),
    ("DO NOT TOUCH", ("May I touch it?", "Is touching allowed?"), "No"),
    ("CLOSED", ("Is it open?", "Can I go in now?"), "No"),
    ("OUT OF ORDER", ("Does it work?", "Can I use it?"), "No"),
    ("PRIVATE PROPERTY", ("May anyone go in?", "Is this public?"), "No"),
    ("SOLD OUT", ("Can I still buy tickets?", "Are there any left?"), "No"),
    ("OPEN", ("Is it open?", "Can I go in?", "Are they open?"), "Yes"),
    ("DOGS WELCOME", ("Can I bring my dog?", "Are dogs allowed?"), "Yes"),
    ("FREE PARKING", ("Can I park here?", "Is parking allowed?"), "Yes"),
    ("PUBLIC FOOTPATH", ("May I walk here?",), "Yes"),
    ("EXIT", ("Is this the way out?", "Is this the exit?"), "Yes"),
    ("WET FLOOR", ("Is the floor wet?", "Should I be careful?"), "Yes"),
    ("FREE ENTRY", ("Is it free?", "Can I go in without paying?"), "Yes"),
)
# Names of fields as they are printed, and as they are asked for
FIELDS = (
    ("Tel", "phone number"), ("Phone", "phone number"), ("Name", "name"), ("Batch", "batch number"),
    ("Best before", "best before date"), ("Date", "date"), ("Order no.", "order number"), ("Room", "room"),
    ("Weight", "weight"), ("Address", "address"), ("Email", "email address"), ("Invoice", "invoice number"),
    ("Due", "due date"), ("Gate", "gate"), ("Seat", "seat"), ("Code", "code"), ("Total", "total"), ("Ref", "reference"),
    ("Serial", "serial number"), ("Table", "table number"), ("电话", "电话"), ("日期", "日期"), ("姓名", "姓名"),
)  # fmt: skip
COLOURS_ZH = {
    "black": "黑色", "white": "白色", "gray": "灰色", "red": "红色", "orange": "橙色", "brown": "棕色",
    "yellow": "黄色",
    "green": "绿色", "teal": "青色", "blue": "蓝色", "purple": "紫色", "pink": "粉色",
}  # fmt: skip
PLACES_ZH = {
    "top left": "左上方", "top": "上方", "top right": "右上方", "left": "左边", "center": "中间", "right": "右边",
    "bottom left": "左下方", "bottom": "下方", "bottom right": "右下方",
}  # fmt: skip

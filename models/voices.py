"""The espeak-ng voices: an accent of English with a variant of the speaker. Six variants never go into training."""

ACCENTS = (  # as often as they stand here: most synthesisers of other makes speak American
    "gmw/en", "gmw/en-US", "gmw/en-US", "gmw/en-US", "gmw/en-US-nyc", "gmw/en-GB-scotland", "gmw/en-GB-x-gbclan", "gmw/en-GB-x-rp",
    "gmw/en-GB-x-gbcwmd", "gmw/en-029",
)
# English phonemes spoken with another language's sounds: other vowels, other formants, other timing
FOREIGN = tuple("de nl sv it es pl da pt ro cs nb af el tr cy hi id sk hr ga sq ca".split())
REVOICED_SHARE = 0.6  # of a pool for training: said by speakers of `revoice`
FOREIGN_SHARE = 0.35  # of the rest
VARIANTS = tuple(
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique "
    "Hugo Jacky Lee Marco Mario Michael Mike Nguyen RicishayMax Tweaky adam anika antonio aunty belinda benjamin boris caleb david ed "
    "edward edward2 grandma grandpa gustave iven iven2 iven3 iven4 john kaukovalta linda marcelo max michel miguel norbert pablo paul "
    "pedro quincy rob robert sandro shelby steph steph2 steph3 travis victor zac whisper".split()
)
HELD_OUT_VARIANTS = ("f4", "m6", "Annie", "Michael", "linda", "rob")  # for validation and judging only

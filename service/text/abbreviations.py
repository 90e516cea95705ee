"""Abbreviations whose full stop ends no sentence, by language, as writers of it use them.

Those of titles stand before a name, which begins with a capital; the others end a sentence like any word if a capital
follows.
"""

from __future__ import annotations

BEFORE_NAMES = {
    "en": (
        "mr mrs ms mx dr prof rev fr sr st mt ft gen col lt capt sgt cpl maj adm cmdr gov sen rep pres hon "
        "supt insp messrs mme mlle jr vs v no nos fig figs p pp vol art sec ch eq ref cf e.g i.e approx al"
    ),
    "fr": (
        "m mm mr mme mmes mlle mlles dr drs pr prof me mes mgr st ste sts ss gén cdt cap col lt sgt cne adj "
        "cf p pp vol art fig chap n° no éd vs av apr env p.ex ex tél réf bd bld boul pl imp rte sq c.-à-d"
    ),
    "de": ("dr prof hr fr hrn st nr z.b d.h u.a bzw ca vgl s abb bd jh dipl ing"),
    "es": ("sr sra srta dr dra prof d dña st sto sta núm pág págs vol art fig av avda cf p.ej ee.uu"),
    "it": ("sig sigg sig.ra dott prof ing avv on s ss cfr pag pagg art fig n"),
    "nl": ("dhr mevr dr drs prof ir ing st nr bijv d.w.z blz"),
    "pt": ("sr sra srta dr dra prof d pág págs vol art fig av cf p.ex"),
}
BEFORE_ANYTHING_ELSE = {
    "en": (
        "approx etc est max min incl excl dept univ inc ltd co corp bros jan feb mar apr jun jul aug sep sept "
        "oct nov dec mon tue tues wed thu thur thurs fri sat sun a.m p.m b.c a.d ave blvd rd hwy tel ext vol "
        "ed eds trans misc hr hrs mins secs sq cu oz lb lbs gal in yd"
    ),
    "fr": (
        "j.-c j.c av apr janv févr fév avr juil sept oct nov déc lun mar mer jeu ven sam dim etc env max min "
        "hab éd coll trad cie ltd inc dép tél h min sec kg km cf dir adm resp nb id ibid op.cit n.b p.-s a.-c "
        "s.a r.-v"
    ),
    "de": ("etc usw evtl ggf inkl max min mind jan feb apr aug sept okt nov dez mo di mi do fr sa so str tel"),
    "es": ("etc aprox máx mín ene feb abr jun jul ago sept oct nov dic tel a.c d.c"),
    "it": ("ecc gen feb mar apr mag giu lug ago set ott nov dic tel a.c d.c"),
    "nl": ("enz jan feb apr jun jul aug sept okt nov dec tel max min"),
    "pt": ("etc aprox jan fev mar abr mai jun jul ago set out nov dez tel a.c d.c"),
}

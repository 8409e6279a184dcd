"""The forms of e-mail and network addresses, phone numbers, cards, IBANs, street addresses and dates of birth."""

from __future__ import annotations

import re

EMAIL = re.compile(
    r"(?<!\w)\w[\w.%+&'-]{0,63}+@"
    r"(?:\w(?:[\w-]{0,61}\w)?\.){1,8}(?:xn--[\w-]{2,40}|[^\W\d_]{2,24})(?![\w(]|-\w|\.\w)"
)
EMAIL_SPELLED = re.compile(
    r"(?<![\w.])\w[\w.+-]{0,63}+ ?[\[({] ?(?:at|ät|arroba) ?[\])}] ?"
    r"\w[\w-]{0,61}(?:(?:\.| ?[\[({] ?(?:dot|punkt|punto|point) ?[\])}] ?)\w[\w-]{1,61}){1,4}",
    re.I,
)
# What stands where a top-level domain would, in names of image files (icon@2x.png) and of system units.
NOT_A_DOMAIN = frozenset(
    str.split(
        "png jpg jpeg gif svg webp bmp ico pdf js ts jsx tsx css scss html json yaml yml xml txt csv md sh exe dll jar "
        "zip gz tgz whl service timer socket target mount slice dev0 py pyc cpp hpp rb rs go lock toml ini conf log"
    )
)

IPV4 = re.compile(
    r"(?<![\w.])(?<!\w-)(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?!\w|\.\w|"
    r"-[^\W\d])"
)
# Far cheaper than the whole pattern, and in every IPv4 address.
DOTTED = re.compile(r"\d\.\d{1,3}\.\d")
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,35}(?:\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])")

CARD = re.compile(r"(?<![\w.+/-])(?<!\d )\d(?:(?:[ -]?\d){12,18})(?![\w]|[-./]\d| \d)")
IBAN_HEAD = re.compile(r"(?<![^\W_])[A-Za-z]{2}[ -]?\d[ -]?\d")

# Where six digits stand close together: what is looked at for phones, cards and national numbers.
REGION = re.compile(r"\d(?:(?:[ ().\-/]{0,3}|[A-Za-z])\d){5,}+")

_EXTENSION = r"(?:,? ?(?:ext|x|extension|Durchwahl|poste)\.? ?\d{1,5})?"
_END = r"(?!\w|[-./:]\d|,\d{3}(?!\d)| ?[=×÷%$€£]| ?\*(?!\*)| (?:dollars|euros|pounds)\b)"
PHONE_INTERNATIONAL = re.compile(
    rf"(?<![\w+])(?:\+ ?|00 ?|\(\+|"
    rf"\(00)(?P<number>[1-9]\d{{0,2}}\)?(?:[ .\-/]{{0,3}}\(?\d{{1,8}}\)?){{1,7}}+){_EXTENSION}{_END}"
)
PHONE_NORTH_AMERICAN = re.compile(
    rf"(?<![\w+.])(?<!\d[-/])(?:1[-. ])?(?:\(\d{{3}}\) ?\d{{3}}-\d{{4}}|"
    rf"(?:\([2-9]\d\d\)[-. ]?|[2-9]\d\d(?P<separator>[-./ ]))[2-9]\d\d[-. ]\d{{4}}){_EXTENSION}{_END}"
)
# A trunk 0, and enough groups, parentheses or a stroke to be nothing but a phone number.
PHONE_TRUNK = re.compile(
    r"(?<![\w+.])(?<!\d[-/ ])(?:"
    r"\(0[1-9]\d{0,4}\)[ \-/]{0,2}\d{2,8}(?:[ \-]\d{2,5}){0,3}|"
    r"0[1-9]\d{2,4} - \d{4,8}|"
    r"0[1-9]\d{1,4} ?[/–] ?\d{3,8}(?:[ \-]\d{1,5}){0,3}|"
    r"0[1-9]\d{0,4}(?:[ .\-]\d{2,5}){2,4}|"
    r"0[1-9]\d{2,4} \d{5,7}"
    rf"){_EXTENSION}{_END}"
)
PHONE_AREA = re.compile(rf"(?<![\w+.])(?<!\d[-/ ])\(\d{{2,3}}\)[ -]?(?:9 ?)?\d{{4}}[ -]\d{{4}}{_END}")
PHONE_LABELLED = re.compile(
    rf"(?<![\w+.,$€£#])(?<!\d[-/ ])\(?\d\d{{0,11}}\)?(?:[ .\-/]\(?\d{{1,8}}\)?){{0,5}}+{_EXTENSION}{_END}"
)
# ITU E.164 country codes, by their first digits.
COUNTRY_CODE = re.compile(
    r"1|7|2[07]|2[1-69]\d|3[0-469]|3[578]\d|4[013-9]|42[013]|5[1-8]|5[09]\d|6[0-6]|6[7-9]\d|8[1246]|8[058]\d|9[0-58]|"
    r"9[679]\d"
)

PHONE_WORDS = re.compile(
    r"(?<![^\W\d_])(?:phone|ph\b|tele?ph|tel\b|tél|teléfono|telefo|tfno|tlf|puh|mob\b|mobi|mobb|móvil|celular|"
    r"cellular|cellul|cell\b|fax|"
    r"call(?:ed|ing|s)? (?:\w+ ){0,3}(?:at|on|back)|call\b|text (?:me|us|him|her|them)|whats ?app|signal\b|telegram|"
    r"sms|dial|"
    r"ring (?:me|us|him|her)|reach(?:ed|able)?\b|hotline|helpline|voicemail|contact|kontakt|landline|handy|festnetz|"
    r"durchwahl|"
    r"anruf|rufen|ruf\b|rückruf|erreich|appel|joindre|joign|portable|llam|marque|contacto|chiam|bel(?:len)?\b|bereik|"
    r"ring(?:a|er)?\b|dzwo|zadzwo|ligue|ligar|cep\b|電話|电话|手机)",
    re.I,
)
# A number so named is no phone, card or identity number, unless a better word stands closer to it.
OTHER_NUMBER_WORDS = re.compile(
    r"(?<![^\W\d_])(?:order|invoice|tracking|ticket|isbn|issn|ean|upc|gtin|doi|sku|part|serial|item|version|build|"
    r"commit|sha|md5|uuid|"
    r"guid|case|batch|lot\b|model|article|product|reference|ref\b|shipment|parcel|transaction|booking|confirmation|"
    r"catalog(?:ue)?|barcode|imei|firmware|timestamp|epoch|score|coordinates?|lat\b|latitude|longitude|lng|lon\b|"
    r"bestell\w*|"
    r"rechnung\w*|auftrag\w*|artikel\w*|sendung\w*|commande|facture|pedido|factura|seed|checksum|hash|"
    r"code|pixels?|range|between|measure\w*|record|docket|meter|claim|policy|vin\b|route|flight|bug|issue)"
    r"(?: (?:no|nr|number|num|id|code|key))?\b",
    re.I,
)
CARD_WORDS = re.compile(
    r"(?<![^\W\d_])(?:cards?\b|credit|debit|visa|master|amex|american ex|discover|jcb|diners|maestro|union ?pay|karte|"
    r"carte|tarjeta|carta|kaart|pan\b|cc\b|charge|paid|pay)",
    re.I,
)
IP_WORDS = re.compile(
    r"(?<![^\W\d_])(?:ip|ipv4|address|adresse|host|server|client|from|ping|dns|log(?:in|ged)?|connect|request|visitor|"
    r"gateway|router|ssh|curl|source|remote|user)",
    re.I,
)
VERSION_WORDS = re.compile(
    r"(?:(?<![^\W\d_])(?:v|ver|version|versión|release|build|firmware|update|upgrade\w*|package|plugin|driver|library|"
    r"revision|"
    r"rev|section|chapter|clause|paragraph|article|§|module|patch|sdk|api|kernel|assembly|runtime|installer|app|bios|"
    r"oid)\b"
    r"\W*(?:\w+\W+){0,2}|==|[~<>!^]=? ?|[A-Za-z]/)$",
    re.I,
)

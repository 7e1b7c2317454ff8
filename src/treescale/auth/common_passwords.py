"""Passwords that are guessed first.

Leaked lists' favourites of eight characters or more, and the defaults of registries and consoles
like this one. Shorter ones are refused for their length.
"""

from typing import Final

_TEXT: Final = """
00000000 000000000 0123456789 0987654321 11111111 111111111 1111111111 11223344 12121212
12312312 123123123 12341234 1234567890 123456789a 12345678 123456789 1234567891 12345679
123456abc 1234abcd 123654789 123qweasd 147258369 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2
22222222 55555555 66666666 77777777 789456123 87654321 88888888 987654321 99999999 999999999
a1234567 a12345678 a123456789 aa123456 aa12345678 abc12345 abcd1234 abcdefgh adidas123
admin123 admin1234 admin12345 admin123456 admin@123 administrator adminadmin asdasdasd
asdf1234 asdfasdf asdfghjk asdfghjkl baseball basketball batman123 benjamin blink182
butterfly caroline changeit changeme changeme1 changeme123 charlie1 charlotte chocolate
christian christine computer corvette cristina danielle default1 demo1234 docker123 dockerdocker
dragon123 einstein elizabeth estrella facebook fernando football football1 forever1 gabriela
garfield gfhjkm123 godzilla google123 guest123 harbor123 harbor12345 harbor123456 hello123
helloworld iloveyou iloveyou1 iloveyou2 infinity internet jennifer jessica1 jonathan jordan23
justinbieber letmein1 letmein123 liverpool loveyou1 lovelove manchester marlboro master123
mercedes metallica michael1 michelle midnight minioadmin monkey123 mustang1 mynameis nexus123
nicholas nintendo nirvana1 p@ssw0rd p@ssword pa$$word pa55word paradise pass1234 passw0rd
passw0rd1 password password! password1 password1! password12 password123 password1234 password2
password3 patricia pokemon1 portugal postgres precious princess princess1 q1w2e3r4 q1w2e3r4t5
qazwsx123 qazwsxedc quaypassword qwer1234 qwerasdf qwerty12 qwerty123 qwerty1234 qwerty12345
qwertyui qwertyuiop registry registry1 registry123 rootroot root1234 samantha samsung1 scorpion
secret123 security september sergey123 serenity slipknot snoopy123 softball spiderman starwars
starwars1 steelers stephanie sunshine sunshine1 superman superman1 supersecret swordfish
test1234 test12345 testing123 testtest toor1234 treescale treescale1 treescale123 trustno1
valentina vanessa1 veronica victoria warcraft welcome1 welcome123 westside whatever william1
wolfgang x4ivygw1 yamaha123 zaq12wsx zaq1zaq1 zxcvbnm1 zxcvbnm123
"""

WELL_KNOWN: Final = frozenset(_TEXT.split())

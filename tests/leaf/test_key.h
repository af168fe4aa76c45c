/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An RSA-3072 key with exponent 3, made for these tests. It signs nothing else. */
#ifndef SWSGX_TESTS_LEAF_TEST_KEY_H
#define SWSGX_TESTS_LEAF_TEST_KEY_H

static const char test_key_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIIG/QIBADANBgkqhkiG9w0BAQEFAASCBucwggbjAgEAAoIBgQC8Lw1GXNhATm5o\n"
	"sIxNwdWTMvSCP3V2ow9IDGpkUDj2UEVvZMGoGr2M0Xg7h8Ihctm6ULZvpJC4wEtt\n"
	"YROlEyAveyUCkCWXmKN3IleQjUnu/JGMGReUEAyYwCNmpC6Cmae5f+POfiu76vQn\n"
	"WpNmXMyLQiYOKrH6WcOlA9kkrTlq6AqOdysRZmpL3Q5NGTK0hxfVtrxXi7NpYosX\n"
	"Sw31Uatf5xyyNMr6I7YtKeZeQ97k+o9F0PAfMSHSKgb6eqQ+/z3jsBqNR1VE4fJB\n"
	"Tn93GqcJiITflVmoZc4Ga3XOA3x1YIqqcjUpjsOuHdhxlPQVDzrKO7xtvxV6dRuo\n"
	"30frh10FFXyHrcKp3zFJK0vQe5qHaKv3SDDncj2AyDjAk70mzkcscThtHE/THq0u\n"
	"KhJC5gUjRBYSS4j3OzL6JOMyabMJE28Xg7JwDbFKfZlWx8F3XGrVewf0w+hiaN8/\n"
	"wECt6MZzmhHgMUKpUp/JBwugsMJNErsf4SY1678Bxee4wVXnETMCAQMCggGAfXSz\n"
	"hD3lgDRJmyBdiSvjt3dNrCpOTxdfhV2cQuAl+YrY9O3WcBHTszZQJ6/WwPc70Ysk\n"
	"Sm210IAySOtibgzAH6duAbVuZRBs+hblCwjb9KhhCBC6YrVduyrCRG10VxEae6qX\n"
	"3v7H0pyixOcM7uiIXNbECXHL/DvXw1fmGHN7nJqxtE9yC5mcMpNe3hDMeFoP488o\n"
	"Ol0iRkGyD4deo4vHlUS9zCMx/BfOyMaZlC0/Q1G02TX1aiDBNsavUacYKf99cn7l\n"
	"6EWZpup0Rdc23fmNzD10dByGOH81/3fyJMS9h9+pypwXCwVm3+y2rGmwBybDw9a1\n"
	"WW7HVAcrOKQqIqfYfbiWbZc0STR6ytJ8n+g2SDlgIn4Ol9cbOP/LZe+M8Fs7wFl/\n"
	"A43wE3g0adUmcMuOE+MpGH0JB1TJ6SitC/GyAbrC5Fcq5bE8qn0faCuefoP6hMzn\n"
	"tEP9dTFkRVV9sVfCwb6Ha88eoRjGxj9VMQbR5Wf0UzEClxhBzKFDZHfaquBrAoHB\n"
	"AOqOhJKN4M8ACcH7q32i4S9WA70NU4AZed4TjgZZNt0498slAesgsxwkpwNS5t9v\n"
	"4eboG+hcr0pDBag4m/W49J7GQLvRUd1WxsVsRnC+sr9tj8DMhh4UZjHpm/lfchWN\n"
	"zNlPyJejUDW3xZDYrH05fXEnVP2cunTynOs5OywgH7hUDGKJlwPpgNhsxXSG28IB\n"
	"5DqGAngCdqqsehiMPynXaAlN4Qa1EI7AtJH6OJk9m3Gozsp4eo+ZqluEyYNCpw4y\n"
	"QwKBwQDNYz0eUQ37gjoWkAGsgXEn1lJ0XTzTjYMpI/yQgylMWBQvYxCt5fZCFh9r\n"
	"o4Uq5TM9kZB/PDsyJ1UrsGzB0qOpuloneaJeubJTg0pv4JZbpQwCvpTlmy55Xuuu\n"
	"TPeot6CymzFQJBeAMpj+kawcezKUSANv80D3SWcxLqR0XwhOJz5ed1sTmlVyVSTF\n"
	"/3f3lI7TwanuW3WH8k6/M8T6DbpHrmW3xYQo7MENrdM96OwDTf3YnyfDrbHzTzke\n"
	"yubYjlECgcEAnF8DDF6V31Vb1qfHqRdAyjlX0143qrumlA0JWZDPPiX6h24BR2si\n"
	"EsMaAjdElPVBRJq9RZMfhtdZGtBn+SX4admAfTY2k48vLkgu9dR3KkkKgIhZaWLu\n"
	"y/ESpj+hY7Pd5jUwZReKznqDteXIU3uo9ho4qRMm+KG98iYncsAVJY1dlwZkrUZV\n"
	"5Z3Y+Fnn1qvtfFlW+qxPHHL8EF1/cTpFW4lAryNgXysjC/wlu35noRs0hvr8X7vG\n"
	"563brNcaCXbXAoHBAIjs02mLXqesJrm1VnMA9hqO4aLo0zezrMYX/bWsxjLlYspC\n"
	"Cx6ZTta5akfCWMdDd35hCv99fMwaOMfK8yvhwnEm5sT7wZR7zDes3EqVuZJuCAHU\n"
	"Y0O8yaY/R8mIpRslFcxndjVtZQAhu1RhHWhSIbgwAkqiK0+GRMt0baLqBYlvfumk\n"
	"52Jm46GOGIP/pU+4XzfWcUmSTlqhidTNLfwJJtp0Q8/ZAsXzK15z4ilF8qzeqTsU\n"
	"xS0edqI00L8x7zsJiwKBwQCHjKbYapzHmD67p2mUMeAc5gwUfPry60+NVEQnChXK\n"
	"qxJ3aVBANDKxxmI2fq5H6LQIUjMf4eNxpQUg9BbxcdJ/Us91eNPDhTApnuETWp63\n"
	"cMKHxVUUZ4C+f8XAqUqjXJIvUkNqq6nD8+KsPqs3+bgFU+REPMGUFoP6/+KvjrIs\n"
	"qN1rU3qIyO7aK4wd6cNd8sTawJHvIrLv5GzEF69bTMGW66fhwky8IlKA1G+9POhs\n"
	"oVFeJRAY+sUhp/xK3pqlrgg=\n"
	"-----END PRIVATE KEY-----\n";

#endif

package collation

import (
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// locales are the locales that a collation may name: those ICU 57 has rules
// for, as the manual lists them
// (https://www.mongodb.com/docs/manual/reference/collation-locales-defaults/).
var locales = strings.Fields(`
	af am ar ar_EG as az be bg bn bo bs bs_Cyrl ca chr cs cy da de de_AT dsb dz ee el en en_US en_US_POSIX eo es et
	fa fa_AF fi fil fo fr fr_CA ga gl gu ha haw he hi hr hsb hu hy id id_ID ig is it ja ka kk kl km kn ko kok ku ky lb lkt
	ln lo lt lv mk ml mn mr ms mt my nb nb_NO ne nl nn nso om or pa pa_Guru pa_Guru_IN pa_IN pl ps pt ro ru se si sk
	sl smn sq sr sr_Cyrl sr_Cyrl_BA sr_Cyrl_ME sr_Cyrl_RS sr_Latn sr_Latn_BA sr_Latn_RS sr_BA sr_RS sv sw ta te th
	to tr ug uk ur vi wae xh yi yo zh zh_CN zh_HK zh_Hans zh_Hans_CN zh_Hans_SG zh_Hant zh_Hant_HK zh_Hant_MO
	zh_Hant_TW zh_MO zh_SG zh_TW zu`)

// collationTypes are the variants that "@collation=" may name, by locale.
var collationTypes = map[string][]string{
	"ar": {"compat"}, "bn": {"traditional"}, "de": {"phonebook", "eor"}, "de_AT": {"phonebook"},
	"es": {"traditional"}, "fi": {"traditional"}, "ja": {"unihan"}, "kn": {"traditional"},
	"ko": {"searchjl", "unihan"}, "ln": {"phonetic"}, "si": {"dictionary"}, "sv": {"reformed"},
	"vi": {"traditional"}, "zh": {"big5han", "gb2312han", "pinyin", "stroke", "unihan", "zhuyin"},
	"zh_Hant": {"big5han", "gb2312han", "pinyin", "stroke", "unihan", "zhuyin"},
}

// searchable locales have a "search" variant of their own.
var searchable = strings.Fields(`ar az bs ca cs da de eo es et fa fi fil fo gl he hr is kl ko lb ln lt lv mk mt nb nn
	om pl ro se sk sl smn sq sr_Latn sv tr vi yi zh`)

func splitLocale(locale string) (base, variant string) {
	base, keywords, _ := strings.Cut(locale, "@")
	return base, strings.TrimPrefix(keywords, "collation=")
}

func knownLocale(locale string) bool {
	base, variant := splitLocale(locale)
	switch {
	case !slices.Contains(locales, base):
		return false
	case !strings.Contains(locale, "@"):
		return true
	case !strings.Contains(locale, "@collation="):
		return false
	case variant == "search":
		return slices.Contains(searchable, base)
	}
	return slices.Contains(collationTypes[base], variant)
}

// nearestLocale is the known locale that an unknown one may have meant, or "".
func nearestLocale(locale string) string {
	base, _ := splitLocale(locale)
	parts := strings.FieldsFunc(base, func(r rune) bool { return r == '_' || r == '-' })
	if len(parts) == 0 {
		return ""
	}
	parts[0] = strings.ToLower(parts[0])
	for n := len(parts); n > 0; n-- {
		if name := strings.Join(parts[:n], "_"); slices.Contains(locales, name) {
			return name
		}
	}
	return ""
}

// normalized are the languages whose rules turn normalization on.
var normalized = strings.Fields("as bn el fa gu hi kn ml mr or pa ta te ur vi")

// localeDefaults sets the options that a locale's rules set themselves.
func (s *Spec) localeDefaults(locale string) {
	base, _ := splitLocale(locale)
	lang, _, _ := strings.Cut(base, "_")
	switch {
	case base == "fr_CA":
		s.Backwards = true
	case lang == "da" || lang == "mt":
		s.CaseFirst = CaseFirstUpper
	case lang == "th":
		s.Alternate = Shifted
	}
	s.Normalization = slices.Contains(normalized, lang)
}

// bcp47Types are the names of variants in language tags, where they differ.
var bcp47Types = map[string]string{
	"phonebook": "phonebk", "traditional": "trad", "gb2312han": "gb2312", "dictionary": "dict",
}

// languageTag translates an ICU locale to a language tag.
func languageTag(locale string) language.Tag {
	base, variant := splitLocale(locale)
	if base == "en_US_POSIX" {
		return language.Make("en-US-u-va-posix")
	}
	tag := language.Make(strings.ReplaceAll(base, "_", "-"))
	if variant == "" {
		return tag
	}
	if t, ok := bcp47Types[variant]; ok {
		variant = t
	}
	if tagged, err := tag.SetTypeForKey("co", variant); err == nil {
		return tagged
	}
	return tag
}

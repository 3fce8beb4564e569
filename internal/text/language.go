package text

import "strings"

// Language is how words of a language are treated. It is immutable.
type Language struct {
	// Name is the language's full name, "none" for texts taken as they are.
	Name string

	stem func(string) string // nil: words are not stemmed
	stop map[string]bool     // nil: no stop words

	apostrophe bool // an apostrophe is part of a word
	turkish    bool // I and i are no pair
}

// languageRows are the languages with their codes.
func languageRows() []struct {
	code string
	Language
} {
	return []struct {
		code string
		Language
	}{
		{"", Language{Name: "none"}},
		{"da", Language{Name: "danish", stem: stemDanish}},
		{"nl", Language{Name: "dutch", stem: stemDutch}},
		{"en", Language{Name: "english", stem: stemEnglish, stop: englishStopWords, apostrophe: true}},
		{"fi", Language{Name: "finnish", stem: stemFinnish}},
		{"fr", Language{Name: "french", stem: stemFrench}},
		{"de", Language{Name: "german", stem: stemGerman}},
		{"hu", Language{Name: "hungarian", stem: stemHungarian}},
		{"it", Language{Name: "italian", stem: stemItalian}},
		{"nb", Language{Name: "norwegian", stem: stemNorwegian}},
		{"pt", Language{Name: "portuguese", stem: stemPortuguese}},
		{"ro", Language{Name: "romanian", stem: stemRomanian}},
		{"ru", Language{Name: "russian", stem: stemRussian}},
		{"es", Language{Name: "spanish", stem: stemSpanish}},
		{"sv", Language{Name: "swedish", stem: stemSwedish}},
		{"tr", Language{Name: "turkish", stem: stemTurkish, turkish: true}},
	}
}

var languages = func() map[string]*Language {
	byName := map[string]*Language{}
	for _, r := range languageRows() {
		l := r.Language
		byName[l.Name] = &l
		if r.code != "" {
			byName[r.code] = &l
		}
	}
	return byName
}()

// LanguageByName finds a language by its name or its two-letter code, in any case.
func LanguageByName(name string) (*Language, bool) {
	l, ok := languages[strings.ToLower(name)]
	return l, ok
}

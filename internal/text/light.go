package text

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// minStem is the number of letters that a light stemmer leaves at least.
const minStem = 3

// light makes a stemmer that cuts the longest of some endings.
func light(endings string) func(string) string {
	list := strings.Fields(endings)
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return func(word string) string {
		for _, e := range list {
			if stem, ok := strings.CutSuffix(word, e); ok && utf8.RuneCountInString(stem) >= minStem {
				return stem
			}
		}
		return word
	}
}

var (
	stemDanish = light(`erendes erende hedens erede ethed hederne erens heden heder enes ernes eres erne eren erer heds ende
		ene ens ers ets en er es et hed e s`)
	stemDutch   = light(`heden baar lijk ende ing end en je ig e s`)
	stemFinnish = light(`issa issä ista istä illa illä ilta iltä ssa ssä sta stä lla llä lta ltä lle ksi ien den ten tta ttä
		ja jä na nä an än en in on un t n a ä i`)
	stemFrench = light(`issements issement atrices ateurs ations atrice ateur ation ements ement ments ment euses euse
		ables ismes istes able isme iste ités ité ives ive ifs if eux issants issant issent issons issez eraient erions
		eront erons erais erait aient antes ants ante ant ent ions ons ez er ées ée és é ait ais ir es e s`)
	stemGerman    = light(`erinnen ungen heiten keiten innen ung heit keit lich isch ern em en er es st e`)
	stemHungarian = light(`ságokat ségeket okat eket öket ként ban ben nak nek val vel ból ből ról ről tól től hoz hez höz
		nál nél ért ság ség on en ön ok ek ök ak ot et öt at t k`)
	stemItalian = light(`azioni azione amenti imenti amento imento mente abili ibili abile ibile ivano avano evano iranno
		eranno ando endo anza enza ista iste isti osi osa oso ato ata ati ate ito ita iti ite uto uta uti ute are ere ire
		ava eva iva ano ono i e a o`)
	stemNorwegian = light(`hetenes hetene hetens heten heter endes ande ende edes enes erte ene ane ede ens ers ets
		het ast ert en ar er as es et a e s`)
	stemPortuguese = light(`amentos imentos amento imento adoras adores ações ação mente idades idade ismos ismo
		istas ista ivas ivos iva ivo osas osos oso osa ariam eriam iriam assem essem issem ando endo indo aram eram iram
		avam arem erem irem adas idas ados idos ada ida ado ido ava iam ar er ir am em as es os is a o e`)
	stemRomanian = light(`aţiune aţie ităţi itate ului ilor elor ând ind eau iau ule ele ile uri are ere ire ată ate aţi
		at ut it ul ea le ii ei lor ă a e i u`)
	stemRussian = light(`ивши ывши ость ости ями ами его ого ему ому ыми ими ешь ишь ете ите ала ила ело ать ить еть
		ах ях ой ый ий ая яя ое ее ые ие ую юю ом ем ам ям ов ев ей ал ил ют ут ат ят ет ит а я о е ы и у ю ь й`)
	stemSpanish = light(`amientos imientos amiento imiento aciones uciones adoras adores ancias logías encias ación
		ución adora ador ancia logía encia mente idades idad ivas ivos iva ivo ables ibles able ible istas ista osos osas
		oso osa iéramos iésemos aríamos eríamos iríamos áramos ásemos iendo yendo ieron aremos eremos iremos ábamos
		íamos ando aron arán erán irán aría ería iría aban ados idos adas idas amos emos imos aba ada ido ida ado ían
		ase iese ara iera an en ar er ir as es ía ió os a o e é ó s`)
	stemSwedish = light(`heterna hetens heten heter anden arnas ernas ornas andes arens andet arna erna orna ande aste
		aren ades erns ade are ern ens het ast ad en ar er or as es at a e s`)
	stemTurkish = light(`larının lerinin larına lerine larını lerini larda lerde lardan lerden ların lerin ları leri lar
		ler dan den tan ten nın nin nun nün da de ta te ın in un ün ı i u ü a e`)
)

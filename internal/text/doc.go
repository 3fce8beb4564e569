// Package text is full-text search as MongoDB's text indexes define it: words,
// stems and scores of documents, and the $search language.
//
// # Model
//
// A [Spec] says which fields of a document are searched, with which weights and
// in which languages; [Spec.Terms] gives a document's terms with their scores,
// which is what a text index holds. A [Query] is a $search string read under a
// Spec: [Query.Terms] are the terms to look up, [Query.Matches] decides on a
// document, phrases and negations included. A document's score in a query is the
// sum of the scores of those of its terms that the query asks for.
//
// A text is cut into words at white space and punctuation; words are lower-cased,
// stop words left out, stemmed, and freed of diacritics.
//
// # Languages
//
// All languages of text index version 3 are accepted. English has the Porter2
// stemmer and stop words, as in MongoDB. Deviation from MongoDB 8.2: the others
// have stemmers that only cut frequent endings (light.go), and no stop words, so
// that rarer forms of a word do not find each other; TestLightStemming pins what does.
//
// # What this package does not know
//
// Indexes and queries around it. It imports bsonval and mongoerr, and keeps no
// state.
package text

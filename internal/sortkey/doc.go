// Package sortkey orders documents by sort specifications like {a: 1, "b.c": -1}.
//
// # Model
//
// [Compile] checks a specification and makes a [Pattern] of it. A Pattern turns
// a document into bytes whose order is the documents' order ([Pattern.Append]),
// or compares the elements of an array ([Pattern.CompareElements]).
//
// A field that is missing sorts as null. An array on the way gives as many keys
// as it has elements: the smallest counts when sorting ascending, the largest
// when descending; an empty array sorts as undefined, before null. When several
// fields lead into the same array, keys are compared as tuples, element by
// element of the array; two different arrays cannot be sorted by together.
//
// Elements of arrays ($push with $sort, $sortArray) compare without that
// expansion: arrays are compared as wholes.
//
// # What this package does not know
//
// Where documents come from. It imports bsonval, keystring and mongoerr. A
// Pattern is immutable; everybody may use it at once.
package sortkey

// Package keystring encodes BSON values as bytes whose order is MongoDB's
// comparison order.
//
// For any values a, b and a collator c (nil for binary order):
//
//	bytes.Compare(Append(nil, a, false, c), Append(nil, b, false, c)) ==
//		bsonval.CompareCollated(a, b, c)
//
// Values that compare equal encode to equal bytes: int32 1, int64 1, double 1.0
// and decimal 1.00 share one encoding, and so do a string and a symbol. What is
// lost that way goes into type bits beside the key (see [Encoder]); key and type
// bits together give back the exact value ([Decode]), unless a collator was
// used.
//
// # Format 1
//
// This format is stored in indexes. It may never change; another encoding
// needs a new format number and new functions.
//
//	key       = component*                     one per indexed field
//	component = value                          ascending
//	          | every byte of value inverted   descending
//
// No encoding of a value is a prefix of another, so keys of several components
// are plain concatenations. A value is a class byte and a payload:
//
//	class  value                      payload (integers big endian)
//	0x08   MinKey                     none
//	0x10   undefined, missing         none
//	0x18   null                       none
//	0x20…  number                     see below
//	0x40   string, symbol             text
//	0x48   document                   elements 0x00
//	0x50   array                      values 0x00
//	0x58   binary                     length (4 bytes), subtype (1), bytes
//	0x60   ObjectId                   12 bytes
//	0x68   false;  0x69 true          none
//	0x70   date                       8 bytes, sign bit inverted
//	0x78   timestamp                  8 bytes
//	0x80   regular expression         pattern 0x00 options 0x00
//	0x88   DBPointer                  length (4 bytes), raw BSON value
//	0x90   code                       text
//	0x98   code with scope            text, elements 0x00
//	0xF0   MaxKey                     none
//
//	text    = bytes 0x00      with 0x00 written 0x01 0x01, and 0x01 written 0x01 0x02
//	          (with a collator: the collator's sort key instead of the text)
//	element = class of the value (0x20 for any number, 0x68 for any boolean),
//	          field name, 0x00, then the value's payload (numbers and booleans:
//	          the whole value, class byte included)
//
// No value begins with 0x00 or 0xFF, inverted or not: 0x00 ends documents, and
// a key followed by 0xFF sorts just above all keys that it begins ([Above]).
//
// # Numbers
//
//	0x20        NaN
//	0x21        -(0x35), payload inverted
//	0x22…0x29   -(0x34…0x2D), payload inverted
//	0x2A        -(0x2C), payload inverted
//	0x2B        zero of any sign
//	0x2C        0 < v < 1        bits·2+more (8 bytes) [rest]
//	0x2C+n      1 ≤ v < 2^63     int·2+frac (n = 1…8 bytes, no leading zero) [fraction]
//	0x35        2^63 ≤ v         bits·2+more (8 bytes) [rest]
//
//	bits        IEEE 754 bits of the largest double not above v (infinity is one)
//	more        1 if v is not that double; then rest follows
//	int         the integer part; frac is 1 if a fraction follows
//	fraction    floor(fraction·2^55)·2+more (7 bytes) [rest]
//	rest        exponent+8192 (2 bytes), coefficient (15 bytes): v as a decimal
//	            whose coefficient has exactly 34 digits
//
// Doubles from 1 on have at most 52 binary digits after the point, so a fraction
// of 55 holds them exactly. Only decimals (and no double) have a rest; among
// values with the same bits it is ordered by exponent, then coefficient, which is
// the order of numbers with 34 digits.
//
// # Type bits
//
// Type bits are a list of tags, one for each number, NaN, zero, string and symbol
// of the key in order, with trailing zero bytes cut off: no type bits at all mean
// all defaults. See typebits.go for the tags.
//
// The package imports bsonval and the standard library. It keeps no state.
package keystring

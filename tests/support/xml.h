/* xml.h - is a text well-formed, as far as our own pages go? Elements balanced, attributes quoted and not
 * repeated, only the five entities and character references, one root. No DTD beyond <!doctype html>, no
 * CDATA, no comments. */
#ifndef LATHE_TESTS_XML_H
#define LATHE_TESTS_XML_H

/* NULL when well-formed, else what is wrong and where (static buffer). */
const char *xml_fault(const char *text);

#endif

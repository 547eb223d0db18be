/* text.h - bytes that are put together for a client: printf and JSON strings into an rw_buf. When
 * memory is out nothing is added and `false` comes back; callers that build a reply look once, at
 * the end, with a buffer that stayed NULL or short being an error of the whole reply. */
#ifndef RWKV_SERVER_TEXT_H
#define RWKV_SERVER_TEXT_H

#include "base/base.h"

bool buf_puts(rw_buf *b, const char *s);
bool buf_printf(rw_buf *b, const char *fmt, ...) RW_PRINTF(2, 3);
/* As a JSON string with quotes. Bytes that are no UTF-8 become U+FFFD. */
bool buf_json(rw_buf *b, const char *s, size_t n);

/* base64 with padding; malloc'd text, NUL-terminated. */
char *buf_base64(const void *data, size_t n, size_t *len);
/* Standard or URL alphabet, padding optional, no blanks; malloc'd bytes, NULL if it is none. */
void *buf_from_base64(const char *s, size_t len, size_t *n);

#endif

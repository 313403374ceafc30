/* SPDX-License-Identifier: MIT */
/* text_html: what is escaped, that nothing else is, and room. */
#include "guarded.h"

#include <pier/text.h>

static char out[256];

static void expect(const char *text, const char *want)
{
    size_t len = strlen(text);
    ck_assert_int_eq(pier_html_escape(out, sizeof out, guarded(text, len), len),
                     (ssize_t)strlen(want));
    ck_assert_str_eq(out, want);
}

TEST(html_escapes_what_markup_begins_with)
{
    expect("", "");
    expect("plain 你好", "plain 你好");
    expect("<b a=\"x\" c='y'>&amp;</b>",
           "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;amp;&lt;/b&gt;");
}

TEST(html_needs_no_more_than_its_room)
{
    ck_assert_int_eq(pier_html_escape(out, PIER_HTML_ROOM(4), "\"\"\"\"", 4), 24);
    ck_assert_int_eq(pier_html_escape(out, PIER_HTML_ROOM(4) - 1, "\"\"\"\"", 4), -ENOSPC);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(pier_html_escape(out, 0, "", 0), -ENOSPC);
}

HARNESS_MAIN("text_html")

/* The C API of texts from C99, without a model: the tokenizer of folder argv[1], and what is refused. Answers are tested through
 * the Python package (test/e2e/test_python.py). */
#include "tools/libquant/quant_text.h"

#include <stdio.h>
#include <string.h>

static int failures = 0;

static void check(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "not so: %s (%s)\n", what, quant_last_error());
    ++failures;
  }
}
#define CHECK(condition) check(condition, #condition)

static void testTokenizer(const char *folder) {
  quant_tokenizer *tokenizer = NULL;
  const int32_t *tokens = NULL;
  const char *text = NULL;
  int64_t count = 0, bytes = 0;
  CHECK(quant_tokenizer_open(folder, &tokenizer) == QUANT_OK);
  CHECK(quant_tokenizer_encode(tokenizer, "a\0b", 3, 1, &tokens, &count) == QUANT_OK && count >= 4 && tokens[0] == 0);
  CHECK(quant_tokenizer_decode(tokenizer, tokens, count, 1, &text, &bytes) == QUANT_OK && bytes == 3 && !memcmp(text, "a\0b", 3));
  CHECK(quant_tokenizer_encode(tokenizer, NULL, 0, 0, &tokens, &count) == QUANT_OK && count == 0);
  CHECK(quant_tokenizer_id(tokenizer, "a") > 0);
  CHECK(quant_tokenizer_id(tokenizer, "there is none") == -1);
  CHECK(quant_tokenizer_size(tokenizer) == 1536 && quant_tokenizer_has_chat(tokenizer));
  CHECK(quant_tokenizer_chat(tokenizer, "[{\"role\":\"user\",\"content\":\"x\"}]", NULL, &text, &bytes) == QUANT_OK && bytes > 1);
  CHECK(quant_tokenizer_chat(tokenizer, "[", NULL, &text, &bytes) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_chat(tokenizer, "[1]", NULL, &text, &bytes) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_chat(tokenizer, "[]", "[]", &text, &bytes) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_chat(tokenizer, NULL, NULL, &text, &bytes) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_encode(tokenizer, NULL, 1, 0, &tokens, &count) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_encode(tokenizer, "x", -1, 0, &tokens, &count) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_tokenizer_decode(tokenizer, NULL, 1, 0, &text, &bytes) == QUANT_INVALID_ARGUMENT);
  quant_tokenizer_free(tokenizer);
}

static void testRefusals(void) {
  quant_tokenizer *tokenizer = NULL;
  quant_generator *generator = NULL;
  quant_answer *answer = NULL;
  quant_step step;
  quant_answer_options options;
  int32_t token = 0, more = 0;
  CHECK(quant_tokenizer_open("/nonexistent", &tokenizer) == QUANT_INVALID_WEIGHTS && tokenizer == NULL);
  CHECK(strstr(quant_last_error(), "/nonexistent") != NULL);
  CHECK(quant_tokenizer_open(NULL, &tokenizer) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_generator_create(NULL, "x", NULL, NULL, &generator) == QUANT_INVALID_ARGUMENT && generator == NULL);
  CHECK(quant_generator_forward(NULL, &token, 1, 0, NULL) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_generator_reset(NULL, 0) == QUANT_INVALID_ARGUMENT);
  CHECK(quant_answer_begin(NULL, &token, 1, NULL, &answer) == QUANT_INVALID_ARGUMENT && answer == NULL);
  CHECK(quant_answer_next(NULL, &step, &more) == QUANT_INVALID_ARGUMENT);
  quant_answer_options_init(&options);
  CHECK(options.max_new_tokens == 16 && options.top_p == 1 && options.logprobs == -1 && options.stop_count == 0);
  quant_tokenizer_free(NULL);
  quant_generator_free(NULL);
  quant_answer_free(NULL);
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  testTokenizer(argv[1]);
  testRefusals();
  return failures != 0;
}

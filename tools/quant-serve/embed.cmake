# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# cmake -DPAGE=page.html -DOUT=page_text.cpp -P embed.cmake: the page as a C++ string.
file(READ "${PAGE}" page)
file(WRITE "${OUT}" "#include \"tools/quant-serve/page.h\"\n\nconst std::string_view quant::serve::kPage = R\"page(${page})page\";\n")

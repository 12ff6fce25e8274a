# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# cmake -DPAGE=compare.html -DNAME=quant::convert::kComparePage -DHEADER=tools/quant-convert/report/page.h -DOUT=compare_page_text.cpp -P embed.cmake
# Puts the style and the scripts that a page names into the page, and the page into a C++ string.
get_filename_component(folder "${PAGE}" ABSOLUTE)
get_filename_component(folder "${folder}" DIRECTORY)
file(READ "${PAGE}" page)

# Replaces TAG with the content of FILE between BEFORE and AFTER.
function(inline tag file before after)
  file(READ "${folder}/${file}" content)
  string(REPLACE "${tag}" "${before}${content}${after}" replaced "${page}")
  set(page "${replaced}" PARENT_SCOPE)
endfunction()

string(REGEX MATCHALL "<link rel=\"stylesheet\" href=\"[^\"]*\">" styles "${page}")
foreach(tag IN LISTS styles)
  string(REGEX REPLACE ".*href=\"([^\"]*)\".*" "\\1" file "${tag}")
  inline("${tag}" "${file}" "<style>\n" "</style>")
endforeach()
string(REGEX MATCHALL "<script src=\"[^\"]*\"></script>" scripts "${page}")
foreach(tag IN LISTS scripts)
  string(REGEX REPLACE ".*src=\"([^\"]*)\".*" "\\1" file "${tag}")
  inline("${tag}" "${file}" "<script>\n" "</script>")
endforeach()

file(WRITE "${OUT}" "#include \"${HEADER}\"\n\nconst std::string_view ${NAME} = R\"page(${page})page\";\n")

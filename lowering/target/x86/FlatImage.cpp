//===- FlatImage.cpp - object files without relocations -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/FlatImage.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace llvm::object;
using quant::host::FlatImage;

namespace {

constexpr uint64_t kPage = 4096;

class Linker {
public:
  Error add(StringRef object) {
    Expected<std::unique_ptr<ObjectFile>> file = ObjectFile::createELFObjectFile(MemoryBufferRef(object, "kernels"));
    if (!file)
      return file.takeError();
    if (!isa<ELF64LEObjectFile>(**file))
      return createStringError("not a 64-bit little-endian ELF object");
    files.push_back(std::move(*file));
    return Error::success();
  }

  Expected<FlatImage> run(ArrayRef<std::string> entries) {
    layOut();
    if (Error error = findSymbols())
      return error;
    for (const std::unique_ptr<ObjectFile> &file : files)
      if (Error error = joinErrors(copySections(*file), relocate(*file)))
        return error;
    if (Error error = findEntries(entries))
      return error;
    return std::move(result);
  }

private:
  FlatImage result;
  std::vector<std::unique_ptr<ObjectFile>> files;
  /// Where sections and global symbols lie in the image.
  DenseMap<SectionRef, uint64_t> offsets;
  StringMap<uint64_t> symbols;

  static bool isLoaded(ELFSectionRef section) {
    Expected<StringRef> name = section.getName();
    bool unwinding = name && *name == ".eh_frame"; // kernels do not unwind
    consumeError(name.takeError());
    return (section.getFlags() & ELF::SHF_ALLOC) && section.getSize() > 0 && !unwinding;
  }

  static bool isCode(ELFSectionRef section) { return section.getFlags() & ELF::SHF_EXECINSTR; }

  /// Data first, then code on a page of its own.
  void layOut() {
    uint64_t end = 0;
    auto place = [&](bool code) {
      for (const std::unique_ptr<ObjectFile> &file : files)
        for (ELFSectionRef section : file->sections()) {
          if (!isLoaded(section) || isCode(section) != code)
            continue;
          end = alignTo(end, std::max<uint64_t>(section.getAlignment().value(), 1));
          offsets[section] = end;
          end += section.getSize();
        }
    };
    place(/*code=*/false);
    result.textOffset = end = alignTo(end, kPage);
    place(/*code=*/true);
    result.textBytes = end - result.textOffset;
    result.image.assign(end, 0);
  }

  Error findSymbols() {
    for (const std::unique_ptr<ObjectFile> &file : files)
      for (ELFSymbolRef symbol : file->symbols()) {
        Expected<section_iterator> section = symbol.getSection();
        if (!section)
          return section.takeError();
        if (symbol.getBinding() != ELF::STB_GLOBAL || *section == file->section_end())
          continue;
        Expected<StringRef> name = symbol.getName();
        Expected<uint64_t> value = symbol.getValue();
        if (!name || !value)
          return joinErrors(name.takeError(), value.takeError());
        if (!symbols.try_emplace(*name, offsets.lookup(**section) + *value).second)
          return createStringError("the symbol '" + *name + "' is defined twice");
      }
    return Error::success();
  }

  Error copySections(const ObjectFile &file) {
    for (ELFSectionRef section : file.sections()) {
      auto offset = offsets.find(section);
      if (offset == offsets.end() || section.getType() == ELF::SHT_NOBITS)
        continue;
      Expected<StringRef> contents = section.getContents();
      if (!contents)
        return contents.takeError();
      llvm::copy(*contents, result.image.begin() + offset->second);
    }
    return Error::success();
  }

  /// The place of a symbol in the image; of one without a section, in whichever object defines it.
  Expected<uint64_t> addressOf(SymbolRef symbol) {
    Expected<section_iterator> section = symbol.getSection();
    if (!section)
      return section.takeError();
    if (*section == symbol.getObject()->section_end()) {
      Expected<StringRef> name = symbol.getName();
      if (!name)
        return name.takeError();
      auto defined = symbols.find(*name);
      if (defined == symbols.end())
        return createStringError("the code needs the external symbol '" + *name + "'");
      return defined->second;
    }
    Expected<uint64_t> value = symbol.getValue();
    if (!value)
      return value.takeError();
    return offsets.lookup(**section) + *value;
  }

  Error relocate(const ObjectFile &file) {
    for (ELFSectionRef section : file.sections()) {
      Expected<section_iterator> target = section.getRelocatedSection();
      if (!target)
        return target.takeError();
      if (*target == file.section_end() || !offsets.contains(**target))
        continue;
      for (ELFRelocationRef relocation : section.relocations())
        if (Error error = apply(relocation, offsets.lookup(**target)))
          return error;
    }
    return Error::success();
  }

  Error apply(ELFRelocationRef relocation, uint64_t sectionOffset) {
    uint64_t type = relocation.getType();
    if (type != ELF::R_X86_64_PC32 && type != ELF::R_X86_64_PLT32)
      return createStringError("unexpected relocation type " + Twine(type));
    Expected<uint64_t> symbol = addressOf(*relocation.getSymbol());
    Expected<int64_t> addend = relocation.getAddend();
    if (!symbol || !addend)
      return joinErrors(symbol.takeError(), addend.takeError());
    uint64_t place = sectionOffset + relocation.getOffset();
    int64_t value = static_cast<int64_t>(*symbol) + *addend - static_cast<int64_t>(place);
    if (!isInt<32>(value) || place + 4 > result.image.size())
      return createStringError("a relocation is out of range");
    support::endian::write32le(result.image.data() + place, static_cast<uint32_t>(value));
    return Error::success();
  }

  Error findEntries(ArrayRef<std::string> entries) {
    for (const std::string &entry : entries) {
      auto symbol = symbols.find(entry);
      if (symbol == symbols.end())
        return createStringError("kernel '" + entry + "' is not in the code");
      result.entries[entry] = symbol->second;
    }
    return Error::success();
  }
};

} // namespace

Expected<FlatImage> quant::host::linkFlatImage(ArrayRef<StringRef> objects, ArrayRef<std::string> entries) {
  Linker linker;
  for (StringRef object : objects)
    if (Error error = linker.add(object))
      return error;
  return linker.run(entries);
}

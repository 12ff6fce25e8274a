//===- FlatImage.cpp - an object file without relocations -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/FlatImage.h"

#include "llvm/ADT/DenseMap.h"
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
  explicit Linker(const ELF64LEObjectFile &file) : file(file) {}

  Expected<FlatImage> run(ArrayRef<std::string> entries) {
    layOut();
    if (Error error = copySections())
      return error;
    if (Error error = relocate())
      return error;
    if (Error error = findEntries(entries))
      return error;
    return std::move(result);
  }

private:
  const ELF64LEObjectFile &file;
  FlatImage result;
  DenseMap<uint64_t, uint64_t> offsets; // by section index

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
      for (ELFSectionRef section : file.sections()) {
        if (!isLoaded(section) || isCode(section) != code)
          continue;
        end = alignTo(end, std::max<uint64_t>(section.getAlignment().value(), 1));
        offsets[section.getIndex()] = end;
        end += section.getSize();
      }
    };
    place(/*code=*/false);
    result.textOffset = end = alignTo(end, kPage);
    place(/*code=*/true);
    result.textBytes = end - result.textOffset;
    result.image.assign(end, 0);
  }

  Error copySections() {
    for (ELFSectionRef section : file.sections()) {
      auto offset = offsets.find(section.getIndex());
      if (offset == offsets.end() || section.getType() == ELF::SHT_NOBITS)
        continue;
      Expected<StringRef> contents = section.getContents();
      if (!contents)
        return contents.takeError();
      llvm::copy(*contents, result.image.begin() + offset->second);
    }
    return Error::success();
  }

  /// The place of a symbol in the image.
  Expected<uint64_t> addressOf(SymbolRef symbol) {
    Expected<section_iterator> section = symbol.getSection();
    if (!section)
      return section.takeError();
    Expected<StringRef> name = symbol.getName();
    if (!name)
      return name.takeError();
    if (*section == file.section_end())
      return createStringError("the code needs the external symbol '" + *name + "'");
    Expected<uint64_t> value = symbol.getValue();
    if (!value)
      return value.takeError();
    return offsets.lookup((*section)->getIndex()) + *value;
  }

  Error relocate() {
    for (ELFSectionRef section : file.sections()) {
      Expected<section_iterator> target = section.getRelocatedSection();
      if (!target)
        return target.takeError();
      if (*target == file.section_end() || !offsets.contains((*target)->getIndex()))
        continue;
      for (ELFRelocationRef relocation : section.relocations())
        if (Error error = apply(relocation, offsets.lookup((*target)->getIndex())))
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
    for (ELFSymbolRef symbol : file.symbols()) {
      Expected<StringRef> name = symbol.getName();
      if (!name)
        return name.takeError();
      if (!is_contained(entries, *name))
        continue;
      Expected<uint64_t> address = addressOf(symbol);
      if (!address)
        return address.takeError();
      result.entries[name->str()] = *address;
    }
    for (const std::string &entry : entries)
      if (!result.entries.count(entry))
        return createStringError("kernel '" + entry + "' is not in the code");
    return Error::success();
  }
};

} // namespace

Expected<FlatImage> quant::host::linkFlatImage(StringRef object, ArrayRef<std::string> entries) {
  Expected<std::unique_ptr<ObjectFile>> file = ObjectFile::createELFObjectFile(MemoryBufferRef(object, "kernels"));
  if (!file)
    return file.takeError();
  auto *elf = dyn_cast<ELF64LEObjectFile>(file->get());
  if (!elf)
    return createStringError("not a 64-bit little-endian ELF object");
  return Linker(*elf).run(entries);
}

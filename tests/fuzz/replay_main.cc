// Stands in for libFuzzer where there is none: runs a fuzz target once on every file of the folders
// and on every file named. What the target aborts on is the file named last on standard output.
//
//   length_field_replay FILE_OR_FOLDER...
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

using std::filesystem::path;

std::vector<path> files_of(const path& name) {
  if (!std::filesystem::is_directory(name)) return {name};
  std::vector<path> files;
  for (const auto& entry : std::filesystem::directory_iterator(name)) files.push_back(entry);
  std::sort(files.begin(), files.end());
  return files;
}

bool run_on(const path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    std::cerr << "cannot read " << file << '\n';
    return false;
  }
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  // A copy without room behind it, so that the sanitizer sees any look beyond the end.
  const auto input = std::make_unique<std::uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), input.get());
  std::cout << file.string() << std::endl;
  LLVMFuzzerTestOneInput(input.get(), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
  std::size_t runs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const path& file : files_of(argv[i])) {
      if (!run_on(file)) return 1;
      ++runs;
    }
  }
  std::cout << runs << " inputs\n";
  return runs > 0 ? 0 : 1;  // an empty corpus shows nothing
}

// All framings. Who uses one includes its header.
#pragma once

#include <millrace/checksummed.h>
#include <millrace/delimited.h>
#include <millrace/fixed_length.h>
#include <millrace/frame_reader.h>
#include <millrace/header_block.h>
#include <millrace/length_field.h>
#include <millrace/length_prefix.h>
#include <millrace/lines.h>
#include <millrace/net_string.h>
#include <millrace/varint_length.h>

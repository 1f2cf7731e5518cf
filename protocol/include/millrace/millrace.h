// All of millrace. Who wants less includes the header of what it uses.
#pragma once

#include <millrace/child_watcher.h>
#include <millrace/connection.h>
#include <millrace/connection_handler.h>
#include <millrace/connection_pool.h>
#include <millrace/event_loop.h>
#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/framings.h>
#include <millrace/io_watcher.h>
#include <millrace/resolver.h>
#include <millrace/send_writer.h>
#include <millrace/signal_watcher.h>
#include <millrace/udp_socket.h>
#include <millrace/unix_datagram_socket.h>

# Rack with Dalli's sessions in Isogrid. PORT and SERVERS are in the environment, and STOCK = 1 for
# Rack::Session::Dalli as it is.
require 'json'
require 'rack'
require 'rack/handler/webrick'
require 'rack/session/dalli'

# A session that cannot be read or saved is an error, and no empty session.
class Sessions < Rack::Session::Dalli
  def with_block(_default = nil, &block)
    @pool.with(&block)
  end
end

# Stays until the file that it makes is gone.
def hold(path)
  File.write(path, '') if path
  sleep 0.01 while path && File.exist?(path)
end

app = lambda do |env|
  request = Rack::Request.new(env)
  session = request.session
  session['user'] # Sessions are loaded when they are first read.
  hold(request.params['hold'])
  case request.path
  when '/login'
    session.options[:renew] = true
    session['user'] = 'ann'
  when '/put' then session[request.params['name']] = 1
  when '/count' then session['n'] = (session['n'] || 0) + 1
  when '/logout'
    session.destroy
    session.options[:drop] = true
  end
  [200, { 'Content-Type' => 'application/json' }, [session.to_hash.to_json]]
end

sessions = ENV['STOCK'] ? Rack::Session::Dalli : Sessions
options = { memcache_server: ENV['SERVERS'].split(','), expire_after: 3600, socket_timeout: 6,
            socket_max_failures: 0, down_retry_delay: 2 }
Rack::Handler::WEBrick.run(
  sessions.new(app, **options), Host: '127.0.0.1', Port: ENV['PORT'].to_i,
  AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN)
)
